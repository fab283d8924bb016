"""How often 95 % intervals hold the true value: simulated studies, whose truth is known.

    python tests/simulated.py                      # the table of workflow/docs/intervals.md (minutes)

A study draws prompts, trainings and samples anew. Prompts differ by a normal effect, samples too; the score of
toxicity or sentiment is the logistic function of their sum. A training moves all scores of its texts alike.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from scipy.stats import beta

from lm_steer.tables import metrics
from lm_steer.tables.intervals import FEW
from lm_steer.tables.metrics import Metric

SIZES = ((100, 25), (32, 5))
STUDIES = 2000
# So many prompts stand for all of them.
MANY = 400_000
Scores = list[np.ndarray]
# (random, prompts, samples, seeds) → the scores of each training seed, and those of the unsteered model.
Study = Callable[[np.random.Generator, int, int, int], tuple[Scores, Scores]]


def judged(
    random: np.random.Generator,
    prompts: int,
    samples: int,
    seeds: int,
    level: float,
    spread: float = 1.0,
    seed_sd: float = 0.0,
) -> tuple[Scores, Scores]:
    """Scores of toxicity or sentiment; those of the unsteered model are higher, and no training moves them."""
    of_prompt = spread * random.standard_normal((prompts, 1))

    def side(level: float, seed_sd: float) -> np.ndarray:
        noise = spread * random.standard_normal((prompts, samples))
        return 1 / (1 + np.exp(-(level + of_prompt + noise))) + seed_sd * _of_training(random, prompts)

    return [side(level, seed_sd) for _ in range(seeds)], [side(level + 0.5, 0.0) for _ in range(seeds)]


def losses(
    random: np.random.Generator, prompts: int, samples: int, seeds: int, wrecked: float = 0.005, seed_sd: float = 0.0
) -> tuple[Scores, Scores]:
    """Summed NLL and tokens: perplexities around 35, and of a few wrecked texts around 2,000, some over 10,000."""
    of_prompt = 0.3 * random.standard_normal((prompts, 1))

    def side(level: float, seed_sd: float) -> np.ndarray:
        shape = (prompts, samples)
        usual = level + of_prompt + 0.4 * random.standard_normal(shape) + seed_sd * _of_training(random, prompts)
        high = math.log(2000) + 0.8 * random.standard_normal(shape)
        each = np.where(random.random(shape) < wrecked, high, usual)
        return np.stack([20 * each, np.full(shape, 20.0)], axis=-1)

    level = math.log(35)
    return [side(level, seed_sd) for _ in range(seeds)], [side(level - 0.2, 0.0) for _ in range(seeds)]


def _of_training(random: np.random.Generator, prompts: int) -> np.ndarray:
    """One effect for all prompts; where prompts stand for all studies, each has a training of its own."""
    return random.standard_normal((prompts if prompts == MANY else 1, 1))


@dataclass(frozen=True)
class Row:
    """A figure of simulated studies; of a proportion, where few events are expected, Jeffreys' width stands beside."""

    name: str
    metric: Metric
    study: Study
    seeds: int = 1
    paired: bool = False
    proportion: bool = False


def rows() -> list[Row]:
    """Return the rows of the table."""
    toxic, rare, common = (partial(judged, level=level) for level in (-2.8, -4.25, 2.75))
    alike = partial(judged, level=-0.45, spread=0.15)
    moved, worse = partial(alike, seed_sd=0.015), partial(losses, seed_sd=0.1)
    maximum, any_toxic = metrics.average_maximum, metrics.probability
    return [
        Row("mean of maximum", maximum, toxic),
        Row("mean of maximum, toxic texts rare", maximum, rare),
        Row("P(any ≥ .5)", any_toxic, toxic, proportion=True),
        Row("P(any ≥ .5), rare", any_toxic, rare, proportion=True),
        Row("positivity near 2.6 %", metrics.positivity, partial(judged, level=-2.75), proportion=True),
        Row("positivity near 97.4 %", metrics.positivity, common, proportion=True),
        Row("difference of maximum", maximum, toxic, paired=True),
        Row("difference of P(any)", any_toxic, toxic, paired=True, proportion=True),
        Row("difference of P(any), rare", any_toxic, rare, paired=True, proportion=True),
        Row("difference of positivity near 2.6 %", metrics.positivity, partial(judged, level=-2.75), 1, True, True),
        Row("perplexity (pooled)", metrics.perplexity, losses),
        Row("perplexity, median", metrics.perplexity_median, losses),
        Row("perplexity, mean below 1e4", metrics.perplexity_mean, losses),
        Row("perplexity, unfiltered mean", metrics.perplexity_unfiltered, losses),
        Row("difference of perplexity", metrics.perplexity, losses, paired=True),
        *(Row(f"{seeds} trainings: mean of maximum", maximum, moved, seeds) for seeds in (2, 3, 5, 10)),
        Row("3 trainings, not unlike: mean of maximum", maximum, alike, 3),
        Row("3 trainings, prompts unlike: mean of maximum", maximum, partial(toxic, seed_sd=0.015), 3),
        Row("3 trainings: P(any ≥ .5)", any_toxic, moved, 3, proportion=True),
        Row("3 trainings: P(any ≥ .5), rare", any_toxic, partial(rare, seed_sd=0.015), 3, proportion=True),
        Row("3 trainings: difference of maximum", maximum, moved, 3, paired=True),
        Row("3 trainings: difference of P(any)", any_toxic, moved, 3, paired=True, proportion=True),
        Row("3 trainings: perplexity", metrics.perplexity, worse, 3),
        Row("3 trainings: difference of perplexity", metrics.perplexity, worse, 3, paired=True),
    ]


@dataclass
class Coverage:
    """What intervals of simulated studies were."""

    held: float
    width: float
    without_width: float


def coverage(row: Row, prompts: int, samples: int, studies: int) -> Coverage:
    """Simulate studies, and return the share whose interval holds the truth, the median width, the share of width 0."""
    truth = true_value(row, samples)
    widths, held = [], 0
    for study in range(studies):
        steered, unsteered = row.study(np.random.default_rng([prompts, study]), prompts, samples, row.seeds)
        if row.paired:
            estimate = metrics.interval(row.metric, steered, unsteered)
        else:
            estimate = metrics.interval(row.metric, steered)
        held += estimate.low <= truth <= estimate.high
        widths.append(estimate.high - estimate.low)
    return Coverage(held / studies, float(np.median(widths)), float(np.mean(np.array(widths) == 0)))


@cache
def true_value(row: Row, samples: int) -> float:
    """Return the value over all prompts and trainings."""
    (steered,), (unsteered,) = row.study(np.random.default_rng(7), MANY, samples, 1)
    return row.metric(steered) - (row.metric(unsteered) if row.paired else 0.0)


def events(row: Row, prompts: int, samples: int) -> float:
    """Return how many events a study is expected to have: prompts or texts of the rarer outcome."""
    value = abs(true_value(row, samples)) / row.metric.scale
    rarer = min(value, 1 - value) * prompts * row.seeds
    return rarer * samples if row.metric is metrics.positivity else rarer


def jeffreys(count: float, size: int) -> float:
    """Return the width of Jeffreys' interval for so many events."""
    low = beta.ppf(0.025, count + 0.5, size - count + 0.5) if count else 0.0
    return float(beta.ppf(0.975, count + 0.5, size - count + 0.5) - low)


def table() -> Iterator[str]:
    """Yield the lines of the table, as Markdown."""
    heads = [f"{prompts} prompts × {samples}: held, % | width" for prompts, samples in SIZES]
    yield f"| | {' | '.join(heads)} |"
    yield f"|---|{'---|' * 2 * len(SIZES)}"
    for row in rows():
        columns = []
        for prompts, samples in SIZES:
            covered = coverage(row, prompts, samples, STUDIES)
            note = ""
            if row.proportion and not row.paired and (count := events(row, prompts, samples)) < FEW:
                size = prompts * (samples if row.metric is metrics.positivity else 1)
                width = jeffreys(round(count), size) * row.metric.scale
                note = f" ({count:.2g} events expected; Jeffreys {width:.2g})"
            columns.append(f"{100 * covered.held:.1f} | {covered.width:.3g}{note}")
        yield f"| {row.name} | {' | '.join(columns)} |"


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
