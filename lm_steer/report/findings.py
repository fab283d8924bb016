"""What a study found, in words: one sentence for all of it, and one for each steered row.

summary(cells)                          # "Over its steered settings average maximum toxicity moved by …"
"""

from collections.abc import Iterator
from typing import Any

from lm_steer.report import wording
from lm_steer.report.families import shown, steer_values
from lm_steer.report.provenance import weak_steers
from lm_steer.study.config import Study
from lm_steer.tables.cells import Cell, headlines
from lm_steer.tables.metrics import PRICE, named


def summary(cells: list[Cell]) -> str:
    """Say in one sentence how far the headline metrics moved, each steered setting counted once."""
    parts = []
    for metric in headlines(cells):
        moved = {
            (cell["model"], cell["setting"]): cell
            for cell in cells
            if cell["metric"] == metric and wording.compared(cell)
        }
        if moved:
            about = named(metric)
            low, *_, high = sorted([*(cell["difference"] for cell in moved.values())] * 2)
            told = sum(wording.direction(cell) != 0 for cell in moved.values())
            parts.append(
                f"{about.phrase} moved by {_range(low, high, about.digits)}{about.unit} ({told} of {len(moved)} "
                f"difference{'s' if len(moved) > 1 else ''} to unsteered can be told from 0)"
            )
    sentence = ", and ".join(parts)
    return sentence and f"Over its steered settings {sentence}."


def _range(low: float, high: float, digits: int) -> str:
    ends = dict.fromkeys(wording.signed(end, digits) for end in (low, high))
    return " to ".join(ends)


def findings(tables: dict[str, list[Cell]], study: Study) -> Iterator[dict[str, Any]]:
    """Yield, for each table and model, what its steered rows changed; a setting is told where it first stands."""
    told: set[tuple[str, str]] = set()
    for name, cells in tables.items():
        headline = wording.headline_of(cells)
        about = [cell for cell in cells if cell["metric"] == headline and wording.compared(cell)]
        for model in study.steered:
            new = [cell for cell in about if cell["model"] == model and (model, cell["setting"]) not in told]
            told |= {(model, cell["setting"]) for cell in new}
            rows = dict.fromkeys(cell["row"] for cell in new)
            if rows:
                yield {
                    "table": name,
                    "title": study.tables[name].title,
                    "model": model,
                    "rows": [_row([cell for cell in new if cell["row"] == row], cells, study) for row in rows],
                }


def _row(row: list[Cell], cells: list[Cell], study: Study) -> dict[str, Any]:
    return {
        "label": row[0]["row"],
        "weak": any(is_weak(cell["setting"], study) for cell in row),
        "changes": [(cell["prompts"], _change_and_price(cell, cells)) for cell in row],
    }


def _change_and_price(cell: Cell, cells: list[Cell]) -> str:
    price = price_of(cell, cells)
    return wording.change(cell) + (f", and {wording.change(price)}" if price else "")


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
        (f"{name}." if several else "") + f"{dimension} {shown(value)}"
        for (name, dimension), value in steer_values(steer, study).items()
    ]
    return ", ".join(values) or "unsteered"
