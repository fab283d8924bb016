import math

import numpy as np
import pytest

from lm_steer.tables import metrics
from lm_steer.tables.metrics import distinct, interval, paired_difference

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
    assert metrics.perplexity(scores) == pytest.approx((math.e + math.e**3) / 2)
    assert metrics.perplexity_pooled(scores) == pytest.approx(math.e**2)


def test_perplexity_filter_drops_ten_thousand_and_above():
    limit = math.log(1e4)
    scores = nll((1.0, 1), (limit + 1e-9, 1), (limit - 1e-9, 1), (50.0, 2))
    assert metrics.perplexity(scores) == pytest.approx((math.e + 1e4) / 2)
    assert metrics.left_out(scores, 1e4) == 2
    assert metrics.perplexity_unfiltered(scores) == pytest.approx((math.e + 2e4 + math.e**25) / 4)
    assert metrics.perplexity_median(scores) == pytest.approx(1e4)


@pytest.mark.parametrize("empty", [(0.0, 0), (3.0, 0), (2.0, -1)])
def test_a_generation_without_tokens_is_left_out_and_counted(empty):
    """Where tokens merge across the boundary, the difference may be 0 tokens, or fewer, at any NLL."""
    scores = nll((2.0, 2), empty, (6.0, 2))
    assert metrics.left_out(scores, 1e4) == 1
    for metric in (metrics.perplexity, metrics.perplexity_unfiltered, metrics.perplexity_median):
        assert metric(scores) == pytest.approx((math.e + math.e**3) / 2)
    assert metrics.perplexity_pooled(scores) == pytest.approx(math.e**2)


def test_perplexity_of_nothing_is_not_a_number():
    assert math.isnan(metrics.perplexity(nll((0.0, 0), (100.0, 1))))


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


def draws(seed: int, prompts: int = 60, samples: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).random((prompts, samples))


def test_intervals_cover_the_true_value_about_as_often_as_they_say():
    """The maximum of 5 uniforms has mean 5/6; of 200 intervals at 95 %, some 190 hold it."""
    inside = 0
    for seed in range(200):
        estimate = interval(metrics.average_maximum, [draws(seed)], draws=200)
        inside += estimate.low <= 5 / 6 <= estimate.high
    assert 178 <= inside <= 199


def test_the_interval_is_that_of_a_mean():
    scores = draws(0, prompts=400)
    maxima = scores.max(axis=1)
    estimate = interval(metrics.average_maximum, [scores])
    half = 1.96 * maxima.std(ddof=1) / math.sqrt(len(maxima))
    assert estimate.value == pytest.approx(maxima.mean())
    assert estimate.low == pytest.approx(maxima.mean() - half, abs=0.15 * half)
    assert estimate.high == pytest.approx(maxima.mean() + half, abs=0.15 * half)


def test_the_same_scores_give_the_same_interval():
    assert interval(metrics.probability, [draws(0)]) == interval(metrics.probability, [draws(0)])


def test_a_paired_difference_is_narrower_than_its_rows():
    base = draws(0)
    better = base - 0.1 + 0.01 * draws(1)
    difference = paired_difference(metrics.average_maximum, [better], [base])
    row = interval(metrics.average_maximum, [base])
    assert difference.value == pytest.approx(better.max(axis=1).mean() - base.max(axis=1).mean())
    assert difference.low <= difference.value <= difference.high < 0
    assert difference.high - difference.low < 0.2 * (row.high - row.low)


def test_the_difference_of_a_row_to_itself_is_zero_with_certainty():
    difference = paired_difference(metrics.probability, [draws(0), draws(1)], [draws(0), draws(1)])
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_several_seeds_are_averaged_and_their_spread_widens_the_interval():
    base = draws(0, prompts=400)
    alike = interval(metrics.average_maximum, [base, base, base])
    apart = interval(metrics.average_maximum, [base - 0.3, base, base + 0.3])
    assert alike.value == pytest.approx(apart.value) == pytest.approx(base.max(axis=1).mean())
    assert apart.high - apart.low > 3 * (alike.high - alike.low)


def test_steered_seeds_are_set_against_one_unsteered_row():
    base = draws(0)
    difference = paired_difference(metrics.average_maximum, [base + 0.1, base + 0.3], [base])
    assert difference.value == pytest.approx(0.2)
    assert (difference.low, difference.high) == (pytest.approx(0.1), pytest.approx(0.3))


def test_an_interval_of_nothing_is_not_a_number():
    estimate = interval(metrics.perplexity, [np.zeros((3, 2, 2))], draws=10)
    assert math.isnan(estimate.low) and math.isnan(estimate.high)
