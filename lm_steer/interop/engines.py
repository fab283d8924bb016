"""Which engines run an exported steer, which silently drop it, and how that is known.

    lm-steer engines

"checked": every export is loaded again and its logits compared. "read": found in the engine's source, not run. Types of
model in neither list were not tried.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lm_steer.util.errors import LMSteerError


@dataclass(frozen=True)
class Engine:
    """What is known about one engine and one form of export, by transformers' `model_type`."""

    name: str
    form: str
    known: str
    runs: list[str]
    drops: list[str]
    note: str


@cache
def engines() -> tuple[Engine, ...]:
    """Return the table, a row for each engine and form."""
    with open(Path(__file__).with_name("engines.csv"), encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    return tuple(Engine(**row | {key: row[key].split() for key in ("runs", "drops")}) for row in rows)


def runs(name: str, form: str) -> list[str]:
    """Return the types of model that an engine is known to run in this form."""
    return next(engine.runs for engine in engines() if (engine.name, engine.form) == (name, form))


def check_engine(model_type: str, form: str, name: str | None) -> None:
    """Raise LMSteerError if the engine of this name (any engine, if None) would silently drop the steer."""
    names = dict.fromkeys(engine.name for engine in engines())
    if name is not None and name not in names:
        raise LMSteerError(f"unknown engine '{name}': choose {', '.join(names)}")
    for engine in engines():
        if engine.form == form and engine.name == (name or engine.name) and model_type in engine.drops:
            advice = "" if name else ", or name the engine that it is for (--engine transformers)"
            raise LMSteerError(
                f"{engine.name} silently drops the steer from a {model_type} {form}: attach the steer in Python "
                f"instead{advice}"
            )


def markdown() -> str:
    """Return the table as the documentation has it."""
    head = ["engine", "form", "how it is known", "runs", "drops it silently", "note"]
    rows = [head, ["---"] * len(head)]
    for engine in engines():
        lists = [", ".join(types) or "–" for types in (engine.runs, engine.drops)]
        rows.append([engine.name, engine.form, engine.known, *lists, engine.note])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
