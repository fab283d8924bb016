"""The wording of metrics on the page: headings, numbers, and differences as sentences.

    number(0.4137, 3), signed(-0.0712, 3)          # "0.414", "−0.071"
    claim(cell, price)                             # raised the share judged positive from 66 % to 92 % …

A cell is one line of a table's CSV (tables/table.py).
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from lm_steer.tables.cells import Cell
from lm_steer.tables.metrics import named
from lm_steer.util import words


def number(value: float, digits: int) -> str:
    """Format a number; large ones without decimals, missing ones as a dash."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{abs(value):,.{0 if abs(value) >= 1000 else digits}f}"
    return f"−{text}" if value < 0 and text.strip("0.,") else text


def signed(value: float, digits: int) -> str:
    """Format a difference with its sign."""
    text = number(value, digits)
    return f"+{text}" if value > 0 and text.strip("0.,") else text


def estimate(row: Mapping[str, Any], digits: int) -> str:
    """Format a value with its interval, if it has one."""
    value = number(row["value"], digits)
    if math.isnan(row["low"]) or row["low"] == row["high"]:
        return value
    return f"{value} ({interval(row['low'], row['high'], digits)})"


def interval(low: float, high: float, digits: int) -> str:
    """Format an interval, with no-break spaces."""
    return f"{number(low, digits)}\u00a0to\u00a0{number(high, digits)}"


def value_text(value: float) -> str:
    """Format a steer value with its sign: `+5`, `−2.5`, `0`."""
    return words.signed(value).replace("-", "−")


def typeset(label: str) -> str:
    """Replace the hyphens before numbers in a label by minus signs."""
    return re.sub(r"(?<!\S)-(?=\d)", "−", label)


def title_of(metric: str) -> str:
    """Return a metric's heading, with an arrow in the better direction."""
    return f"{named(metric).heading} {named(metric).arrow}".strip()


def direction(cell: Cell) -> int:
    """Return −1 or +1 if the interval of the difference lies on that side of 0, else 0."""
    low, high = cell["difference_low"], cell["difference_high"]
    return int(low > 0) - int(high < 0)


def verdict(cell: Cell) -> str:
    """Return `better`, `worse` or `other` (neither direction is better), or `none` if the interval includes 0."""
    side, better = direction(cell), named(cell["metric"]).better
    if not side:
        return "none"
    return {1: "better", -1: "worse", 0: "other"}[side * better]


def compared(cell: Cell) -> bool:
    """Whether a cell has a difference to unsteered, with an interval."""
    return all(math.isfinite(cell[key]) for key in ("difference", "difference_low", "difference_high"))


def claim(cell: Cell, price: Cell | None) -> dict[str, str]:
    """Describe the effect of a steered row on a metric: start and end value, difference with interval, perplexity.

    Returns the sentence after its subject in three parts: `verb`, `numbers` (set in bold) and `rest`.
    """
    metric = named(cell["metric"])
    digits = max(0, metric.digits - 1)
    target = f"{metric.phrase} on {cell['prompts']} prompts"
    per_cent = "\u00a0%" if metric.scale == 100 else ""
    start, end = (f"{number(value, digits)}{per_cent}" for value in (cell["value"] - cell["difference"], cell["value"]))
    span = interval(cell["difference_low"], cell["difference_high"], digits)
    rest = f"({signed(cell['difference'], digits)}{metric.unit}, {span})"
    if price and compared(price):
        rest += f", at perplexity {number(price['value'] - price['difference'], 0)} → {number(price['value'], 0)}"
    if not direction(cell):
        verb, numbers = f"had no effect on {target} distinguishable from chance:", f"{start} → {end}"
    else:
        verb, numbers = f"{'raised' if direction(cell) > 0 else 'lowered'} {target}", f"from {start} to {end}"
    return {"verb": verb, "numbers": numbers, "rest": rest}


def printable(text: str) -> str:
    """Replace the control characters and lone surrogates that HTML and XML forbid."""
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)
