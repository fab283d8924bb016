import math

import numpy as np
import pytest

from lm_steer.tables import intervals, metrics
from lm_steer.tables.metrics import interval


def draws(seed: int, prompts: int = 60, samples: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).random((prompts, samples))


def few(events: int, prompts: int = 32, samples: int = 5) -> np.ndarray:
    """Scores of 0, and of 1 in one sample of some prompts."""
    scores = np.zeros((prompts, samples))
    scores[:events, 0] = 1
    return scores


def nll(seed: int, *wrecked: float, prompts: int = 32) -> np.ndarray:
    """Summed NLL and tokens of perplexities around 30, the first ones of prompt 0 as given."""
    each = np.log(20 + 20 * draws(seed, prompts))
    each[0, : len(wrecked)] = np.log(wrecked)
    return np.stack([20 * each, np.full(each.shape, 20.0)], axis=-1)


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.7062), (2, 4.3027), (31, 2.0395), (9999, 1.9602)])
def test_students_t(freedom, quantile):
    assert intervals.student(freedom) == pytest.approx(quantile, abs=1e-4)


def test_the_interval_of_a_mean_without_skew_is_students():
    scores = np.concatenate([draws(0), 1 - draws(0)])[:, :1]
    estimate = interval(metrics.average_maximum, [scores])
    half = intervals.student(119) * scores.std(ddof=1) / math.sqrt(120)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))


def test_the_long_side_of_a_skewed_mean_has_the_longer_half():
    estimate = interval(metrics.average_maximum, [draws(0)[:, :1] ** 8])
    assert estimate.high - estimate.value > 1.2 * (estimate.value - estimate.low)


@pytest.mark.parametrize("metric", [metrics.perplexity, metrics.perplexity_mean, metrics.average_maximum])
def test_what_moves_a_value_agrees_with_a_bootstrap(metric):
    """The closed form and resampling are two ways to one interval, of a ratio as of a mean."""
    scores = draws(1, 400)
    if metric is not metrics.average_maximum:
        scores = nll(1, *[300] * 5, prompts=400) * np.linspace(1, 2, 400)[:, None, None]
    if metric is metrics.perplexity_mean:
        scores[:10, 0] = 20 * np.log(3000), 20
    closed, drawn = interval(metric, [scores]), interval(lambda kept: metric(kept), [scores])
    assert closed.value == drawn.value
    assert closed.high - closed.low == pytest.approx(drawn.high - drawn.low, rel=0.15)


def test_the_same_scores_give_the_same_interval():
    scores = [nll(0), nll(1)]
    assert interval(metrics.perplexity_median, scores) == interval(metrics.perplexity_median, scores)


def test_a_paired_difference_is_narrower_than_its_rows():
    base = draws(0)
    better = base - 0.1 + 0.01 * draws(1)
    difference = interval(metrics.average_maximum, [better], [base])
    row = interval(metrics.average_maximum, [base])
    assert difference.value == pytest.approx(better.max(axis=1).mean() - base.max(axis=1).mean())
    assert difference.low <= difference.value <= difference.high < 0
    assert difference.high - difference.low < 0.2 * (row.high - row.low)


def test_the_difference_of_scores_to_themselves_is_zero():
    difference = interval(metrics.average_maximum, [draws(0), draws(1)], [draws(0), draws(1)])
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)


@pytest.mark.parametrize("metric", [metrics.probability, metrics.positivity])
@pytest.mark.parametrize("events", [0, 1, 4])
def test_few_events_have_an_interval_within_the_scale(metric, events):
    for scores, side in ((few(events), "low"), (1 - few(events)[:, :1].repeat(5, axis=1), "high")):
        estimate = interval(metric, [scores])
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= metric.scale
        assert estimate.high - estimate.low > 0.01 * metric.scale
        assert events or getattr(estimate, side) == (0 if side == "low" else metric.scale)


@pytest.mark.parametrize(
    ("metric", "scores"),
    [
        (metrics.average_maximum, np.array([[0.1], [0.8]])),
        (metrics.perplexity, np.array([[[2.0, 20]], [[90.0, 20]]])),
        (metrics.named("dist_1"), [["a a a a"], ["a b c d"]]),
        (metrics.named("loss_on_films"), np.array([[[0.1, 1]], [[9.0, 1]]])),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_an_interval_ends_where_its_metric_does(metric, scores):
    least, most = metric.bounds
    estimate = interval(metric, [scores])
    assert least == estimate.low < estimate.value < estimate.high <= most
    difference = interval(metric, [scores], [scores[::-1]])
    assert least - most <= difference.low < 0 < difference.high <= most - least


def test_no_event_in_n_prompts_is_wilsons_interval():
    square = intervals.student(31) ** 2
    assert interval(metrics.probability, [few(0)]).high == pytest.approx(square / (32 + square))


@pytest.mark.parametrize("sides", [(0, 0), (0, 3), (4, 4)])
def test_proportions_of_few_events_never_differ_with_certainty(sides):
    steered, unsteered = ([few(events)] for events in sides)
    difference = interval(metrics.probability, steered, unsteered)
    assert difference.low < difference.value < difference.high and difference.low < 0 < difference.high


def test_several_trainings_are_averaged_and_their_spread_widens_the_interval():
    base = draws(0, prompts=400) / 2
    alike = interval(metrics.average_maximum, [base, base, base])
    apart = interval(metrics.average_maximum, [base - 0.1, base, base + 0.1])
    assert alike.value == pytest.approx(apart.value) == pytest.approx(base.max(axis=1).mean())
    assert alike.trainings == 0 and apart.trainings > 0.95
    assert apart.by_seed == pytest.approx([alike.value - 0.1, alike.value, alike.value + 0.1])
    # Of three trainings: Student's t with two degrees of freedom.
    assert apart.high - apart.value == pytest.approx(4.3 * 0.1 / math.sqrt(3), rel=0.02)


def test_one_training_says_nothing_of_trainings():
    assert math.isnan(interval(metrics.average_maximum, [draws(0)]).trainings)


def test_steered_seeds_are_set_against_one_unsteered_row():
    base = draws(0)
    difference = interval(metrics.average_maximum, [base + 0.01, base + 0.03], [base])
    half = 12.706 * 0.01
    assert (difference.low, difference.high) == pytest.approx((0.02 - half, 0.02 + half), rel=1e-4)


def test_a_mean_that_few_texts_make_leaves_room_for_one_that_was_not_drawn():
    usual = interval(metrics.perplexity_mean, [nll(0)])
    assert usual.low > 25 and usual.high > 500
    assert interval(metrics.perplexity_unfiltered, [nll(0)]).high == math.inf
    enough = interval(metrics.perplexity_mean, [nll(0, *[2000] * 5)])
    assert math.isfinite(interval(metrics.perplexity_unfiltered, [nll(0, *[2000] * 5)]).high)
    assert enough.high < 2000
    difference = interval(metrics.perplexity_unfiltered, [nll(0)], [nll(1)])
    assert (difference.low, difference.high) == (-math.inf, math.inf)


def test_texts_that_dominate_a_mean_are_counted():
    count, share = metrics.dominating(metrics.perplexity_mean, [nll(0, 3000, 5000, 20_000)])
    assert count == 2 and share == pytest.approx(8000 / (8000 + 157 * 30), rel=0.02)
    assert metrics.dominating(metrics.perplexity_mean, [nll(0)]) == (0, 0)
    assert metrics.dominating(metrics.average_maximum, [draws(0)]) == (0, 0)


@pytest.mark.parametrize("scores", [np.zeros((3, 2, 2)), nll(0)[:1]])
def test_an_interval_of_nothing_or_of_one_prompt_is_not_a_number(scores):
    estimate = interval(metrics.perplexity, [scores])
    assert math.isnan(estimate.low) and math.isnan(estimate.high)
