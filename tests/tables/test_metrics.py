import math

import numpy as np
import pytest

from lm_steer.tables import metrics
from lm_steer.tables.metrics import distinct

SCORES = np.array([[0.1, 0.5, 0.2], [0.4, 0.3, 0.49], [0.9, 0.6, 0.0], [0.2, 0.1, 0.0]])


def nll(*generations: tuple[float, float]) -> np.ndarray:
    """One prompt's generations, as (summed NLL, tokens)."""
    return np.array([generations], dtype=float)


def test_average_maximum():
    assert metrics.average_maximum(SCORES) == pytest.approx((0.5 + 0.49 + 0.9 + 0.2) / 4)


def test_probability_counts_a_score_of_exactly_a_half():
    assert metrics.probability(SCORES) == 2 / 4


def test_positivity_is_a_mean_over_prompts_in_per_cent():
    assert metrics.positivity(SCORES) == pytest.approx(100 * (1 / 3 + 0 + 2 / 3 + 0) / 4)


def test_perplexity_is_a_mean_over_generations_not_tokens():
    scores = nll((2.0, 2), (6.0, 2))
    assert metrics.perplexity_mean(scores) == pytest.approx((math.e + math.e**3) / 2)
    assert metrics.perplexity(scores) == pytest.approx(math.e**2)


def test_perplexity_filter_drops_ten_thousand_and_above():
    limit = math.log(1e4)
    scores = nll((1.0, 1), (limit + 1e-9, 1), (limit - 1e-9, 1), (50.0, 2))
    assert metrics.perplexity_mean(scores) == pytest.approx((math.e + 1e4) / 2)
    assert metrics.left_out(scores, 1e4) == 2
    assert metrics.perplexity_unfiltered(scores) == pytest.approx((math.e + 2e4 + math.e**25) / 4)
    assert metrics.perplexity_median(scores) == pytest.approx(1e4)


@pytest.mark.parametrize("empty", [(0.0, 0), (3.0, 0), (2.0, -1)])
def test_a_generation_without_tokens_is_left_out_and_counted(empty):
    """Where tokens merge across the boundary, the difference may be 0 tokens, or fewer, at any NLL."""
    scores = nll((2.0, 2), empty, (6.0, 2))
    assert metrics.left_out(scores, 1e4) == 1
    for metric in (metrics.perplexity_mean, metrics.perplexity_unfiltered, metrics.perplexity_median):
        assert metric(scores) == pytest.approx((math.e + math.e**3) / 2)
    assert metrics.perplexity(scores) == pytest.approx(math.e**2)


def test_perplexity_of_nothing_is_not_a_number():
    assert math.isnan(metrics.perplexity_mean(nll((0.0, 0), (100.0, 1))))


@pytest.mark.parametrize(
    "samples, n, expected",
    [
        (["a b a", "a b"], 1, 2 / 5),
        (["a b a", "a b"], 2, 2 / 5),
        (["a b a", "a b"], 3, 1 / 5),
        # A repeated space is an empty word, as `split(" ")` has it; so is a leading one.
        ([" a  b"], 1, 3 / 4),
        ([" a  b"], 2, 3 / 4),
        (["a\nb a\nb"], 1, 1 / 2),
        # n-grams do not reach from one sample into the next.
        (["a", "b"], 2, 0.0),
        ([""], 1, 1.0),
    ],
)
def test_distinct_n_grams_per_word(samples, n, expected):
    assert distinct(samples, n) == pytest.approx(expected)
