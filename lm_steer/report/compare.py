"""Comparison of two runs: which cells moved beyond their intervals, and what differs that may explain it.

    lm-steer report compare results-of-may results

A cell has moved if the value of each run lies outside the other's interval. Possible reasons: the keys of the study
that the cell depends on, the version of its scorer, the number of texts it was computed on; and, for all cells, the
versions, revision, machine and inputs in the records of both runs (run.json).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from lm_steer.report.wording import number
from lm_steer.study.config import Study, read_study
from lm_steer.tables.cells import Cell, read_tables
from lm_steer.tables.metrics import named
from lm_steer.util.blocks import keys_naming
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import read_json

# Table, model, row, prompts and metric.
Place = tuple[str, str, str, str, str]
UNEXPLAINED = "nothing in the study: code, versions, inputs or machine"
# Keys of a run's record, and columns of a cell, that may explain a difference.
RECORD_KEYS = ("versions", "git", "hardware", "inputs")
CELL_KEYS = ("scorer", "version", "n_prompts", "n_generations", "left_out")


@dataclass(frozen=True)
class Moved:
    """A cell that moved, its (value, low, high) in both runs, and possible reasons."""

    table: str
    model: str
    row: str
    prompts: str
    metric: str
    first: tuple[float, float, float]
    second: tuple[float, float, float]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """The differences between two runs; `only_first` and `only_second` are cells that just one of them has."""

    moved: tuple[Moved, ...]
    still: int
    only_first: tuple[Place, ...]
    only_second: tuple[Place, ...]
    study: tuple[str, ...]
    made_by: tuple[str, ...]


def compare(first: Path, second: Path) -> Comparison:
    """Compare two folders of results. Raises LMSteerError if one has no study.json or none of its tables."""
    (study, record, cells), (other_study, other_record, other_cells) = _read_run(first), _read_run(second)
    both = {place: (cell, other_cells[place]) for place, cell in cells.items() if place in other_cells}
    moved = []
    for place, (one, other) in both.items():
        if _is_apart(one, other):
            reasons = [f"{key}: {one[key]} → {other[key]}" for key in CELL_KEYS if one[key] != other[key]]
            reasons += _differences("", _behind(one, study), _behind(other, other_study))
            before, after = ((cell["value"], cell["low"], cell["high"]) for cell in (one, other))
            moved.append(Moved(*place, before, after, tuple(reasons) or (UNEXPLAINED,)))
    unknown = ("run.json: missing from both runs, so versions and machine are unknown",)
    return Comparison(
        tuple(moved),
        len(both) - len(moved),
        tuple(place for place in cells if place not in both),
        tuple(place for place in other_cells if place not in both),
        tuple(_differences("", study.dump(), other_study.dump())),
        tuple(_differences("", record, other_record)) if record or other_record else unknown,
    )


def _read_run(folder: Path) -> tuple[Study, dict[str, Any], dict[Place, Cell]]:
    """Read the study, the record and the cells of a folder of results."""
    if not (folder / "study.json").exists():
        raise LMSteerError(f"{folder} has no study.json: pass the results folder of a run, such as `results`")
    study = read_study(folder / "study.json")
    cells = {
        (table, cell["model"], cell["row"], cell["prompts"], cell["metric"]): cell
        for table, rows in read_tables(study, folder).items()
        for cell in rows
    }
    if not cells:
        raise LMSteerError(f"{folder} holds none of the tables of its study: finish the run, `snakemake tables`")
    path = folder / "run.json"
    record = read_json(path, dict) if path.exists() else {}
    return study, {key: record[key] for key in RECORD_KEYS if key in record}, cells


def _is_apart(one: Cell, other: Cell) -> bool:
    """Whether each value lies outside the other's interval, or only one of them is a number."""
    here, there = one["value"], other["value"]
    if here != here or there != there:
        return (here != here) != (there != there)
    # An interval without an end excludes nothing on that side.
    return (there < one["low"] or there > one["high"]) and (here < other["low"] or here > other["high"])


def _behind(cell: Cell, study: Study) -> dict[str, Any]:
    """Return the part of a study that a cell depends on, in the shape of a config."""
    names = [name for name in (cell["setting"], study.settings[cell["setting"]].against) if name]
    settings = [study.settings[name] for name in names]
    steers = [name for setting in settings for name in setting.steer]
    prompts = {setting.prompts: study.prompts[setting.prompts] for setting in settings}
    datasets = [study.steers[name].dataset for name in steers]
    datasets += [getattr(block, key) for block in prompts.values() for key in keys_naming(type(block), "datasets")]
    parts = {
        "models": [cell["model"]],
        "datasets": datasets,
        "steers": steers,
        "prompts": list(prompts),
        "scorers": [cell["judge"]],
        "settings": names,
    }
    # Texts from elsewhere have no model, and distinctness has no scorer.
    blocks = {
        part: {name: block.model_dump() for name in chosen if (block := getattr(study, part).get(name))}
        for part, chosen in parts.items()
    }
    return {"seeds": study.seeds, "sampling": study.sampling.model_dump(), **blocks}


def _differences(place: str, one: Any, other: Any) -> Iterator[str]:
    """Yield `key.key: this → that` for every difference between two configs."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            yield from _differences(f"{place}.{key}".lstrip("."), one.get(key, "–"), other.get(key, "–"))
    elif one != other:
        this, that = (text if len(text) <= 60 else f"{text[:57]}…" for text in (str(one), str(other)))
        yield f"{place}: {this} → {that}"


def as_text(comparison: Comparison) -> str:
    """Format a comparison as plain text, the most important first."""
    moved = comparison.moved
    lines = [f"{len(moved)} of {len(moved) + comparison.still} cells moved beyond their intervals."]
    for (table, model), cells in groupby(moved, lambda cell: (cell.table, cell.model)):
        lines += ["", f"{table}, {model}"]
        for cell in cells:
            digits = named(cell.metric).digits
            both = ("{} ({} to {})".format(*(number(end, digits) for end in run)) for run in (cell.first, cell.second))
            lines += [f"  {cell.row}, {cell.prompts} prompts, {named(cell.metric).phrase}:", f"    {' → '.join(both)}"]
            lines += [f"    because of {reason}" for reason in cell.reasons]
    for name, places in (("first", comparison.only_first), ("second", comparison.only_second)):
        if places:
            rows = dict.fromkeys(f"{table}: {row}" for table, _, row, *_ in places)
            lines += ["", f"Only the {name} run has {len(places)} cells, in the rows {'; '.join(rows)}."]
    for what, differences in (("studies", comparison.study), ("records of the runs", comparison.made_by)):
        lines += ["", f"The {what} differ in:" if differences else f"The {what} are the same."]
        lines += [f"  {difference}" for difference in differences]
    return "\n".join(lines)
