"""What a study found, in words: one sentence for all of it, and one for each steered row.

summary(cells)                          # "Over its steered settings average maximum toxicity moved by …"
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

from lm_steer.report.families import steer_values, value_text
from lm_steer.report.provenance import weak_steers
from lm_steer.report.wording import change, compared, direction, signed
from lm_steer.study.config import Study
from lm_steer.tables.cells import Cell, headlines, shown
from lm_steer.tables.metrics import PRICE, named


def summary(cells: list[Cell]) -> str:
    """Say in one sentence how far the headline metrics moved, each steered setting counted once."""
    parts = []
    for metric in headlines(cells):
        about = [cell for cell in cells if cell["metric"] == metric and compared(cell)]
        moved = {(cell["model"], cell["setting"]): cell for cell in about}.values()
        if moved:
            differences = sorted(cell["difference"] for cell in moved)
            ends = dict.fromkeys(signed(end, named(metric).digits) for end in (differences[0], differences[-1]))
            told = sum(direction(cell) != 0 for cell in moved)
            parts.append(
                f"{named(metric).phrase} moved by {' to '.join(ends)}{named(metric).unit} ({told} of {len(moved)} "
                f"difference{'s' if len(moved) > 1 else ''} to unsteered can be told from 0)"
            )
    return f"Over its steered settings {', and '.join(parts)}." if parts else ""


def findings(tables: dict[str, list[Cell]], study: Study) -> Iterator[dict[str, Any]]:
    """Yield, for each table and model, what its steered rows changed; a setting is told where it first stands."""
    told: set[tuple[str, str]] = set()
    for (name, cells), model in product(tables.items(), study.steered):
        # What the table is about: the first metric that steers aim at, or else the first.
        headline = (headlines(cells) or [metric.name for metric in shown(cells)])[0]
        about = [cell for cell in cells if (cell["model"], cell["metric"]) == (model, headline) and compared(cell)]
        rows: dict[str, list[Cell]] = {}
        for cell in about:
            if (model, cell["setting"]) not in told:
                rows.setdefault(cell["row"], []).append(cell)
        told |= {(model, cell["setting"]) for row in rows.values() for cell in row}
        if rows:
            changes = {
                label: [(cell["prompts"], _change_and_price(cell, cells)) for cell in row]
                for label, row in rows.items()
            }
            weak = {label for label, row in rows.items() if any(is_weak(cell["setting"], study) for cell in row)}
            yield {"table": name, "title": study.tables[name].title, "model": model, "rows": changes, "weak": weak}


def _change_and_price(cell: Cell, cells: list[Cell]) -> str:
    price = price_of(cell, cells)
    return change(cell) + (f", and {change(price)}" if price else "")


def price_of(cell: Cell, cells: list[Cell]) -> Cell | None:
    """Return the perplexity that stands in a cell's own row, if there is one."""
    if cell["metric"] == PRICE:
        return None
    key = (cell["model"], cell["setting"], cell["row"], PRICE)
    same = (other for other in cells if (other["model"], other["setting"], other["row"], other["metric"]) == key)
    return next(same, None)


def is_weak(setting: str, study: Study) -> bool:
    """Whether a setting is steered by what was learned from weak labels."""
    return not weak_steers(study).isdisjoint(study.settings[setting].steer)


def on_model(model: str, study: Study) -> str:
    """Name the model where the study has several."""
    return f", {model}" if len(study.steered) > 1 else ""


def steer_label(steer: dict[str, dict[str, float]], study: Study) -> str:
    """Say what a setting is steered by: `detox 5, corpus 0`."""
    several = len(steer) > 1
    values = [
        (f"{name}." if several else "") + f"{dimension} {value_text(value)}"
        for (name, dimension), value in steer_values(steer, study).items()
    ]
    return ", ".join(values) or "unsteered"
