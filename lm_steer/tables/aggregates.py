"""How the values of prompts become one value, and how much each prompt moves it.

mean(values), INFLUENCE[mean](values)          # the value; its derivative with respect to each prompt's weight
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mean(values: Array) -> float:
    """Mean over prompts of a value that each prompt has, (prompts,)."""
    return float(values.mean())


def mean_of_texts(each: Array) -> float:
    """Mean over all texts, (prompts, samples), NaN left out; NaN where nothing counts."""
    counted = each[~np.isnan(each)]
    return float(counted.mean()) if counted.size else float("nan")


def median_of_texts(each: Array) -> float:
    """Median over all texts, (prompts, samples), NaN left out; NaN where nothing counts."""
    counted = each[~np.isnan(each)]
    return float(np.median(counted)) if counted.size else float("nan")


def ratio(sums: Array) -> float:
    """Σ first column ÷ Σ second column, (prompts, 2); NaN where nothing counts."""
    above, below = sums.sum(axis=0)
    return float(above / below) if below else float("nan")


def exp_ratio(sums: Array) -> float:
    """exp(Σ first column ÷ Σ second column), (prompts, 2); NaN where nothing counts."""
    with np.errstate(over="ignore"):
        return float(np.exp(ratio(sums)))


def _of_mean_of_texts(each: Array) -> Array:
    counts = (~np.isnan(each)).sum(axis=1)
    return (np.nansum(each, axis=1) - mean_of_texts(each) * counts) / counts.mean()


def _of_ratio(sums: Array) -> Array:
    above, below = sums.T
    return (above - below * ratio(sums)) / below.mean()


def _of_exp_ratio(sums: Array) -> Array:
    return exp_ratio(sums) * _of_ratio(sums)


# Each (prompts, …) → (prompts,), with mean 0; of what is not here, intervals are from a bootstrap.
INFLUENCE: dict[Callable[[Any], float], Callable[[Array], Array]] = {
    mean: lambda values: values - values.mean(),
    mean_of_texts: _of_mean_of_texts,
    ratio: _of_ratio,
    exp_ratio: _of_exp_ratio,
}
