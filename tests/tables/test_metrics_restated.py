"""Every metric against its definition, written once more in plain Python, on generated edge cases."""

import math
import random
import statistics

import numpy as np
import pytest

from lm_steer.tables import metrics

PIECES = ["", " ", "  ", "a", "b", " a", "a b", "é", "e\u0301", "\U0001f600", "\n", "a\nb", "\u00a0", "nan", "."]


def texts(seed: int) -> list[list[str]]:
    choose = random.Random(seed)
    one = lambda: "".join(choose.choices(PIECES, k=choose.randint(0, 6)))  # noqa: E731
    return [[one() for _ in range(choose.randint(1, 5))] for _ in range(choose.randint(1, 6))]


def n_grams(words: list[str], n: int) -> list[str]:
    return ["\0".join(words[start : start + n]) for start in range(len(words) - n + 1)]


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("seed", range(20))
def test_distinct(seed, n):
    for samples in texts(seed):
        grams = {gram for text in samples for gram in n_grams(text.split(" "), n)}
        words = sum(text.count(" ") + 1 for text in samples)
        assert metrics.distinct(samples, n) == pytest.approx(len(grams) / words)


def scores(seed: int) -> np.ndarray:
    """Scores of (prompts, samples), many of them at 0, 1, or a half."""
    draw = np.random.default_rng(seed)
    values = draw.choice([0.0, 1.0, 0.5, np.nextafter(0.5, 0), *draw.random(4)], size=draw.integers(1, 7, 2))
    return values


@pytest.mark.parametrize("seed", range(20))
def test_toxicity_and_positivity(seed):
    rows = scores(seed).tolist()
    assert metrics.average_maximum(scores(seed)) == pytest.approx(statistics.mean(max(row) for row in rows))
    assert metrics.probability(scores(seed)) == pytest.approx(statistics.mean(any(s >= 0.5 for s in r) for r in rows))
    shares = [sum(score >= 0.5 for score in row) / len(row) for row in rows]
    assert metrics.positivity(scores(seed)) == pytest.approx(100 * statistics.mean(shares))


def losses(seed: int) -> np.ndarray:
    """Summed NLL and tokens, (prompts, samples, 2): no token, one, a merge that leaves −1, an NLL that overflows."""
    draw = np.random.default_rng(seed)
    shape = tuple(draw.integers(1, 6, 2))
    tokens = draw.choice([0, 1, 2, 20, -1], size=shape)
    nll = draw.choice([0.0, 3.0, 40.0, 1e5, math.log(1e4)], size=shape)
    return np.stack([nll, tokens], axis=-1).astype(float)


def restated(nll: np.ndarray) -> list[tuple[float, float]]:
    """(NLL, perplexity) of each generation that has a token."""
    found = []
    for loss, tokens in nll.reshape(-1, 2).tolist():
        if tokens > 0:
            mean = loss / tokens
            found.append((loss, tokens, math.exp(mean) if mean < 700 else math.inf))
    return found


def same(found: float, values: list[float], reduce=statistics.mean) -> bool:
    return math.isnan(found) if not values else found == pytest.approx(reduce(values))


@pytest.mark.parametrize("seed", range(40))
def test_perplexity(seed):
    nll, counted = losses(seed), restated(losses(seed))
    every = [perplexity for _, _, perplexity in counted]
    below = [value for value in every if value < 1e4]
    assert same(metrics.perplexity_mean(nll), below)
    assert same(metrics.perplexity_unfiltered(nll), every)
    assert same(metrics.perplexity_median(nll), every, statistics.median)
    assert metrics.left_out(nll, 1e4) == nll[..., 0].size - len(below)
    assert metrics.left_out(nll) == nll[..., 0].size - len(every)
    tokens = sum(count for _, count, _ in counted)
    mean = sum(loss for loss, _, _ in counted) / tokens if tokens else math.nan
    pooled = metrics.perplexity(nll)
    assert math.isnan(pooled) if not tokens else pooled == pytest.approx(math.exp(mean) if mean < 700 else math.inf)
