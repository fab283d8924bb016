"""Where a measured curve first exceeds a limit."""

import math
from collections.abc import Sequence

import numpy as np


def break_point(values: Sequence[float], heights: Sequence[float] | np.ndarray, limit: float, side: int) -> float:
    """Return the value where a curve first exceeds `limit`, going from 0 outwards; NaN if it never does.

    The curve is linear between two values. side: 1 up, -1 down.
    """
    path = sorted((abs(v), height) for v, height in zip(values, heights, strict=True) if v * side >= 0)
    before: tuple[float, float] | None = None
    for step, height in path:
        if height > limit:
            if before is None:
                return side * step
            share = (limit - before[1]) / (height - before[1])
            return side * (before[0] + share * (step - before[0]))
        before = (step, height)
    return math.nan
