"""95 % intervals of a value, over prompts and over trainings.

    estimate(mean, [maxima])                       # one array (prompts, …) per training seed -> Estimate
    estimate(mean, [maxima], [unsteered])          # the difference, on the same prompts

Prompts and trainings are two crossed samples: every training answers the same prompts.

workflow/docs/intervals.md lists the interval of each number, its source, and how often it covers the truth.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
# Fewer events, or dominating texts, say too little about how they vary.
FEW = 5
# A text of more than this many times the median dominates a mean.
DOMINATING = 10

Array = NDArray[np.float64]
Statistic = Callable[[Array], float]


def mean(values: Array) -> float:
    """Return the mean over prompts of a value per prompt, (prompts,)."""
    return float(values.mean())


def mean_of_texts(each: Array) -> float:
    """Return the mean over all texts, (prompts, samples), leaving out NaN; NaN if nothing counts."""
    counted = each[~np.isnan(each)]
    return float(counted.mean()) if counted.size else float("nan")


def median_of_texts(each: Array) -> float:
    """Return the median over all texts, (prompts, samples), leaving out NaN; NaN if nothing counts."""
    counted = each[~np.isnan(each)]
    return float(np.median(counted)) if counted.size else float("nan")


def ratio(sums: Array) -> float:
    """Return Σ first column ÷ Σ second column of (prompts, 2); NaN if nothing counts."""
    above, below = sums.sum(axis=0)
    return float(above / below) if below else float("nan")


def exp_ratio(sums: Array) -> float:
    """Return exp(Σ first column ÷ Σ second column) of (prompts, 2); NaN if nothing counts."""
    with np.errstate(over="ignore"):
        return float(np.exp(ratio(sums)))


def _of_mean_of_texts(each: Array) -> Array:
    counts = (~np.isnan(each)).sum(axis=1)
    return (np.nansum(each, axis=1) - mean_of_texts(each) * counts) / counts.mean()


def _of_ratio(sums: Array) -> Array:
    above, below = sums.T
    return (above - below * ratio(sums)) / below.mean()


# Each (prompts, …) → (prompts,), with mean 0; other statistics have bootstrap intervals.
INFLUENCE: dict[Statistic, Callable[[Array], Array]] = {
    mean: lambda values: values - values.mean(),
    mean_of_texts: _of_mean_of_texts,
    ratio: _of_ratio,
    exp_ratio: lambda sums: exp_ratio(sums) * _of_ratio(sums),
}


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval.

    by_seed     the value of each training seed
    trainings   share of the variance due to trainings, the rest being due to prompts; NaN with one training, whose
                interval is over prompts alone
    """

    value: float
    low: float
    high: float
    by_seed: tuple[float, ...] = ()
    trainings: float = math.nan

    def row(self) -> dict[str, float]:
        """Return the value and its ends as tables have them."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class _Prompts:
    """What prompts contribute to an interval: its ends, the variance of the mean over seeds, and of single seeds."""

    low: float
    high: float
    together: float
    single: float
    count: int


def estimate(
    statistic: Statistic,
    seeds: Sequence[Array],
    against: Sequence[Array] | None = None,
    scale: float = 0,
    highest: float = 0,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Estimate:
    """Return a statistic of (prompts, …), mean over training seeds, or its difference to `against`, with its interval.

    against     the other side of a difference; prompts are paired, and seeds if there are equally many
    scale       1 or 100 for a proportion (per prompt), 0 for anything else
    highest     for a mean over texts, (prompts, samples): the highest value of a text, inf if unbounded; 0 if no text
                weighs much
    bounds      the lowest and the highest value of a statistic that is not a proportion

    All arrays have the same prompts in the same order.
    """
    values = np.array([statistic(each) for each in seeds])
    prompts = _over_prompts(statistic, seeds, against)
    if against is not None:
        values = values - _per_seed([statistic(each) for each in against], seeds)
    if scale:
        each = np.mean(seeds, axis=0)
        if against is None:
            prompts = _proportion(each, scale, prompts)
        else:
            prompts = _change(each - np.mean(against, axis=0), scale, prompts)
    if highest:
        below = 0 if against is None else _room(against, highest)
        prompts = replace(prompts, low=prompts.low - below, high=prompts.high + _room(seeds, highest))
    widened = _with_trainings(values, prompts)
    least, most = (0.0, scale) if scale else bounds
    if against is not None:
        least, most = least - most, most - least
    return replace(widened, low=float(max(widened.low, least)), high=float(min(widened.high, most)))


def dominating(seeds: Sequence[Array]) -> tuple[int, float]:
    """Return how many texts exceed ten times the median of (prompts, samples), and their share of the mean."""
    every = np.stack(seeds)
    counted = every[~np.isnan(every)]
    high = counted[counted > DOMINATING * np.median(counted)] if counted.size else counted
    return high.size, float(high.sum() / counted.sum()) if high.size else 0.0


def _over_prompts(statistic: Statistic, seeds: Sequence[Array], against: Sequence[Array] | None) -> _Prompts:
    value = float(np.mean([statistic(each) for each in seeds]))
    if against is not None:
        value -= float(np.mean([statistic(each) for each in against]))
    count = len(seeds[0])
    if count < 2 or not math.isfinite(value):
        return _Prompts(math.nan, math.nan, math.nan, math.nan, count)
    influence = INFLUENCE.get(statistic)
    # Otherwise resampled, with the same prompts in every row and seed.
    vary = influence or (lambda each: np.array([statistic(each[_resampled(draw, count)]) for draw in range(DRAWS)]))
    each = np.stack([vary(one) for one in seeds])
    if against is not None:
        each = each - _per_seed([vary(one) for one in against], seeds)
    together = each.mean(axis=0)
    if influence:
        low, high = _skewed(together)
        return _Prompts(value + low, value + high, together.var(ddof=1) / count, _mean_variance(each) / count, count)
    low, high = _percentiles(together, count)
    return _Prompts(low, high, _mean_variance(together[None]), _mean_variance(each), count)


def _per_seed(values: Sequence[float] | Sequence[Array], seeds: Sequence[Array]) -> Array:
    """Return one value per seed of the other side, or their mean if the numbers of seeds differ."""
    each = np.array(values)
    return each if len(each) == len(seeds) else each.mean(axis=0, keepdims=True)


def _mean_variance(each: Array) -> float:
    """Return the mean over seeds of the variance of (seeds, prompts or draws), without draws that lack a value."""
    counted = each[:, ~np.isnan(each).any(axis=0)]
    return float(counted.var(axis=1, ddof=1).mean()) if counted.shape[1] > 1 else math.nan


def _skewed(influence: Array) -> tuple[float, float]:
    """Return the ends of Hall's interval, relative to the value, from the influence of each prompt."""
    count = len(influence)
    error = influence.std(ddof=1) / math.sqrt(count)
    # Rounding errors are no influence.
    if count < 3 or not error > 1e-12 * np.abs(influence).max():
        half = student(count - 1) * error
        return -half, half
    skew = math.sqrt(count * (count - 1)) / (count - 2) * (influence**3).mean() / influence.std() ** 3
    ends = []
    for t in (student(count - 1), -student(count - 1)):
        if abs(skew) > 1e-6:
            root = math.sqrt(count)
            t = 3 * root / skew * (float(np.cbrt(1 + skew * (t / root - skew / (6 * count)))) - 1)
        ends.append(-t * error)
    return ends[0], ends[1]


@lru_cache(maxsize=2 * DRAWS)
def _resampled(draw: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([draw, 0]).integers(0, count, count)


def _percentiles(draws: Array, count: int) -> tuple[float, float]:
    counted = draws[~np.isnan(draws)]
    if not counted.size:
        return math.nan, math.nan
    tail = 100 * NormalDist().cdf(-math.sqrt(count / (count - 1)) * student(count - 1))
    low, high = np.percentile(counted, [tail, 100 - tail])
    return float(low), float(high)


def _proportion(values: Array, scale: float, prompts: _Prompts) -> _Prompts:
    """Return Wilson's ends for a proportion (prompts,) with few events, and any other unchanged."""
    if min((values > 0).sum(), (values < scale).sum()) >= FEW:
        return prompts
    share, count = values.mean() / scale, len(values)
    variance = prompts.together / scale**2
    # With no event, or with one prompt, a prompt counts once however many samples it has.
    effective = share * (1 - share) / variance if variance > 0 else count
    square = student(max(count - 1, 1)) ** 2 / effective
    middle, half = share + square / 2, math.sqrt(square * (share * (1 - share) + square / 4))
    low, high = (scale * (middle + side * half) / (1 + square) for side in (-1, 1))
    return replace(prompts, low=low, high=high)


def _change(changes: Array, scale: float, prompts: _Prompts) -> _Prompts:
    """Return Bonett and Price's ends for a difference of proportions (prompts,) if few prompts changed."""
    if (changes != 0).sum() >= FEW:
        return prompts
    more = np.append(changes, [scale, -scale])
    half = student(max(len(changes) - 1, 1)) * more.std() / math.sqrt(len(more))
    value = changes.mean()
    low, high = min(value, more.mean() - half), max(value, more.mean() + half)
    return replace(prompts, low=low, high=high)


def _room(seeds: Sequence[Array], highest: float) -> float:
    """Return how far texts that were not drawn can raise a mean that fewer than five drawn texts dominate."""
    if dominating(seeds)[0] >= FEW:
        return 0.0
    # The upper end of Wilson's interval for 0 of all prompts.
    square = student(max(len(seeds[0]) - 1, 1)) ** 2
    return highest * square / (len(seeds[0]) + square)


def _with_trainings(values: Array, prompts: _Prompts) -> Estimate:
    """Widen the interval over prompts by the spread of trainings beyond that of their samples."""
    value, count = float(values.mean()), len(values)
    by_seed = tuple(float(each) for each in values)
    if count == 1:
        return Estimate(value, float(prompts.low), float(prompts.high), by_seed)
    between, sampling = values.var(ddof=1) / count, max(prompts.single - prompts.together, 0.0) / (count - 1)
    # Subtracting all of it would leave too little for few trainings that agree by chance; subtracting none, too much.
    half = _added(prompts.together, max(between - sampling / 2, 0.0), prompts.count, count)
    low, high = value - math.hypot(value - prompts.low, half), value + math.hypot(prompts.high - value, half)
    trainings = max(between - sampling, 0.0)
    whole = prompts.together + trainings
    return Estimate(value, low, high, by_seed, float(trainings / whole) if whole else math.nan)


def _added(prompts: float, trainings: float, prompt_count: int, seed_count: int) -> float:
    """Return what a variance of trainings adds, as a square, to half an interval over prompts."""
    if not trainings > 0:
        return 0.0
    whole, few, many = prompts + trainings, student(seed_count - 1), student(max(prompt_count - 1, 1))
    t = (many * prompts + few * trainings) / whole
    return math.sqrt(t**2 * whole - many**2 * prompts)


@lru_cache
def student(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t: 12.71 for 1 degree of freedom, 2.04 for 31, 1.96 for many."""
    # With t = √freedom · tan(angle), the density is proportional to cos(angle)^(freedom - 1).
    angles = np.linspace(0, math.pi / 2, 200_001)
    density = np.cos(angles) ** (freedom - 1)
    reached = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(freedom) * math.tan(float(np.interp(0.95 * reached[-1], reached, angles)))
