"""Metrics as a reader meets them: their names, how their numbers are written, what a difference says in words.

    number(0.4137, 3), signed(-0.0712, 3)          # "0.414", "−0.071"
    change(cell)                                   # "average maximum toxicity fell by 0.071 (0.042 to 0.099)"

A cell is one line of a table's CSV (tables/table.py).
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from lm_steer.tables.cells import Cell
from lm_steer.tables.metrics import named


def number(value: float, digits: int) -> str:
    """Write a number; large ones without decimals, missing ones as a dash."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{abs(value):,.{0 if abs(value) >= 1000 else digits}f}"
    return f"−{text}" if value < 0 and text.strip("0.,") else text


def signed(value: float, digits: int) -> str:
    """Write a difference with its sign."""
    text = number(value, digits)
    return f"+{text}" if value > 0 and text.strip("0.,") else text


def estimate(row: Mapping[str, Any], digits: int) -> str:
    """Write a value with its interval, where it has one."""
    value = number(row["value"], digits)
    if math.isnan(row["low"]) or row["low"] == row["high"]:
        return value
    # No line ends inside an interval.
    joint = "\u00a0to\u00a0" if row["low"] < 0 else "–\u2060"
    return f"{value} ({number(row['low'], digits)}{joint}{number(row['high'], digits)})"


def title_of(metric: str) -> str:
    """Return a metric's heading, and which way is better."""
    return f"{named(metric).heading} {named(metric).arrow}".strip()


def direction(cell: Cell) -> int:
    """Return −1 or +1 where the interval of the difference lies on that side of 0, else 0."""
    low, high = cell["difference_low"], cell["difference_high"]
    return int(low > 0) - int(high < 0)


def verdict(cell: Cell) -> str:
    """Return `better`, `worse` or `other` (no side is better), and `none` where the interval holds 0."""
    side, better = direction(cell), named(cell["metric"]).better
    if not side:
        return "none"
    return {1: "better", -1: "worse", 0: "other"}[side * better]


def compared(cell: Cell) -> bool:
    """Whether a cell has a difference to unsteered, with an interval."""
    return all(math.isfinite(cell[key]) for key in ("difference", "difference_low", "difference_high"))


def change(cell: Cell) -> str:
    """Say what the difference to unsteered is, and whether it can be told from 0."""
    metric = named(cell["metric"])
    side = direction(cell)
    low, high = cell["difference_low"], cell["difference_high"]
    if not side:
        span = f"{signed(low, metric.digits)} to {signed(high, metric.digits)}"
        value = signed(cell["difference"], metric.digits)
        return f"the difference in {metric.phrase} cannot be told from 0 ({value}; {span})"
    near, far = sorted((abs(low), abs(high)))
    verb = "rose" if side > 0 else "fell"
    size = f"{number(abs(cell['difference']), metric.digits)}{metric.unit}"
    return f"{metric.phrase} {verb} by {size} ({number(near, metric.digits)} to {number(far, metric.digits)})"


def printable(text: str) -> str:
    """Return a document without the control characters and halves of surrogate pairs that HTML and XML forbid."""
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)
