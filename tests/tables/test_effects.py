import math

import numpy as np
import pytest

from lm_steer.analyse.crossing import break_point
from lm_steer.tables import metrics
from lm_steer.tables.effects import additivity, joint, recovered

VALUES = [-5, 0, 2, 4]


@pytest.mark.parametrize(
    ("perplexities", "side", "expected"),
    [
        ([30, 20, 30, 50], 1, 3.0),  # 40 lies half-way between 30 and 50
        ([30, 20, 25, 39], 1, math.nan),
        ([60, 20, 25, 39], -1, -2.5),
        ([60, 50, 25, 39], 1, 0),
        ([60, 20, 50, 30], 1, pytest.approx(4 / 3)),  # the first time counts
    ],
)
def test_where_quality_breaks_is_found_between_the_values(perplexities, side, expected):
    assert break_point(VALUES, perplexities, 40, side) == pytest.approx(expected, nan_ok=True)


def test_effects_that_add_up_are_told_from_those_that_do_not():
    start, first, second = 10.0, 12.0, 7.0
    assert additivity(np.array([start, first, second, 9.0])) == pytest.approx(1)
    assert additivity(np.array([start, first, second, 10.0])) != pytest.approx(1)
    # Two pairs, one of which adds up: 1 - 1 / (1 + 4).
    assert additivity(np.array([0, 1, 0, 1, 1, 2, 2.0])) == pytest.approx(1 - 1 / 5)
    assert math.isnan(additivity(np.array([1.0, 1, 1, 1])))


def test_the_recovered_share():
    assert recovered(np.array([0.5, 0.1, 0.2])) == pytest.approx(0.75)
    assert math.isnan(recovered(np.array([0.5, 0.5, 0.2])))


@pytest.mark.parametrize("metric", [metrics.average_maximum, metrics.probability, metrics.perplexity])
def test_a_joint_metric_is_made_of_each_settings_own(metric):
    random = np.random.default_rng(0)
    shape = (6, 4, 2) if metric is metrics.perplexity else (6, 4)
    sides = [random.random(shape) + 1 * (metric is metrics.perplexity) for _ in range(3)]
    combined = joint(metric, lambda each: float(each @ [1, 10, 100]))
    assert combined(np.stack(sides, axis=-1)) == pytest.approx(
        sum(metric(scores) * weight for scores, weight in zip(sides, [1, 10, 100], strict=True))
    )


def test_settings_are_resampled_together():
    scores = np.random.default_rng(0).random((30, 3))
    same = joint(metrics.average_maximum, lambda each: each[1] - each[0])
    estimate = metrics.interval(same, [np.stack([scores, scores + 0.25], axis=-1)])
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.25, 0.25, 0.25))
