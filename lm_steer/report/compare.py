"""Two runs side by side: which cells moved beyond their intervals, and what differs that can be the reason.

    lm-steer report compare results-of-may results

A cell moved where the value of each run lies outside the other's interval. Why: the keys of the study that the cell
depends on, the version of its scorer, the number of texts it was computed on; and for all cells what the records of
both runs (run.json) say of versions, revision, machine and inputs.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lm_steer.report.cell_records import scorer_of
from lm_steer.report.wording import number
from lm_steer.study.config import Study, read_study
from lm_steer.tables.cells import Cell, read_tables
from lm_steer.tables.metrics import named
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import read_json

Place = tuple[str, str, str, str, str]
UNTOLD = "nothing in the study: code, versions, inputs or machine"
# What a run's record says of how its numbers were made.
MADE_BY = ("versions", "git", "hardware", "inputs")


@dataclass(frozen=True)
class Run:
    """A folder of results: its study, its record, and its cells by (table, model, row, prompts, metric)."""

    study: Study
    record: dict[str, Any]
    cells: dict[Place, Cell]


@dataclass(frozen=True)
class Moved:
    """A cell that moved, and why it may have."""

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
    """What differs between two runs; `only` are cells that one of them has alone."""

    moved: tuple[Moved, ...]
    still: int
    only_first: tuple[Place, ...]
    only_second: tuple[Place, ...]
    study: tuple[str, ...]
    made_by: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


def compare(first: Path, second: Path) -> Comparison:
    """Compare two folders of results; LMSteerError where one is no finished run's, or holds no table."""
    one, other = read_run(first), read_run(second)
    both = [place for place in one.cells if place in other.cells]
    moved = [_moved(place, one, other) for place in both if _is_apart(one.cells[place], other.cells[place])]
    return Comparison(
        tuple(moved),
        len(both) - len(moved),
        tuple(place for place in one.cells if place not in other.cells),
        tuple(place for place in other.cells if place not in one.cells),
        tuple(_differences("", one.study.dump(), other.study.dump())),
        tuple(_differences("", one.record, other.record))
        if one.record or other.record
        else ("run.json: neither run has one, so versions and machine are not known",),
    )


def read_run(folder: Path) -> Run:
    """Read the study and the tables of a folder of results."""
    if not (folder / "study.json").exists():
        raise LMSteerError(f"{folder} has no study.json: give the results folder of a run, such as `results`")
    study = read_study(folder / "study.json")
    tables = read_tables(study, folder)
    if not tables:
        raise LMSteerError(f"{folder} holds none of the tables of its study: finish the run, `snakemake tables`")
    cells = {
        (table, cell["model"], cell["row"], cell["prompts"], cell["metric"]): cell
        for table, rows in tables.items()
        for cell in rows
    }
    path = folder / "run.json"
    record = read_json(path, dict) if path.exists() else {}
    return Run(study, {key: record[key] for key in MADE_BY if key in record}, cells)


def _is_apart(one: Cell, other: Cell) -> bool:
    """Whether each value lies outside the other's interval; a cell without a number in one run alone is apart."""
    here, there = one["value"], other["value"]
    if here != here or there != there:
        return (here != here) != (there != there)
    return not (one["low"] <= there <= one["high"]) and not (other["low"] <= here <= other["high"])


def _moved(place: Place, one: Run, other: Run) -> Moved:
    first, second = ((cell["value"], cell["low"], cell["high"]) for cell in (one.cells[place], other.cells[place]))
    return Moved(*place, first, second, tuple(_reasons(place, one, other)) or (UNTOLD,))


def _reasons(place: Place, one: Run, other: Run) -> Iterator[str]:
    first, second = one.cells[place], other.cells[place]
    for key in ("scorer", "version", "n_prompts", "n_generations", "left_out"):
        if first[key] != second[key]:
            yield f"{key}: {first[key]} → {second[key]}"
    yield from _differences("", _behind(place, one), _behind(place, other))


def _behind(place: Place, run: Run) -> dict[str, Any]:
    """Return the part of a study that a cell depends on, in the shape of a config."""
    study, cell = run.study, run.cells[place]
    names = [cell["setting"], study.settings[cell["setting"]].against]
    settings = {name: study.settings[name] for name in names if name}
    steers = {name: study.steers[name] for setting in settings.values() for name in setting.steer}
    prompts = {setting.prompts: study.prompts[setting.prompts] for setting in settings.values()}
    sources = [steer.dataset for steer in steers.values()]
    sources += [block.dataset for block in prompts.values() if block.source == "openings"]
    scorer = scorer_of(cell, place[0], study)
    parts: dict[str, dict[str, Any]] = {
        "models": {name: block for name, block in study.models.items() if name == cell["model"]},
        "datasets": {name: study.datasets[name] for name in dict.fromkeys(sources)},
        "steers": steers,
        "prompts": prompts,
        "scorers": {name: block for name, block in study.scorers.items() if name == scorer},
        "settings": settings,
    }
    dumped = {part: {name: block.model_dump() for name, block in named.items()} for part, named in parts.items()}
    return {"seeds": study.seeds, "sampling": study.sampling.model_dump(), **dumped}


def _differences(place: str, one: Any, other: Any) -> Iterator[str]:
    """Yield `key.key: this → that` for all that differs between two configs."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            yield from _differences(f"{place}.{key}".lstrip("."), one.get(key, "–"), other.get(key, "–"))
    elif one != other:
        yield f"{place}: {_short(one)} → {_short(other)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def told(comparison: Comparison) -> str:
    """Say a comparison in plain text, the most important first."""
    moved, total = comparison.moved, len(comparison.moved) + comparison.still
    lines = [f"{len(moved)} of {total} cells moved beyond their intervals."]
    for (table, model), cells in _grouped(moved).items():
        lines += ["", f"{table}, {model}"]
        for cell in cells:
            lines.append(f"  {cell.row}, {cell.prompts} prompts, {named(cell.metric).phrase}:")
            lines.append(f"    {_said(cell.first, cell.metric)} → {_said(cell.second, cell.metric)}")
            lines += [f"    because of {reason}" for reason in cell.reasons]
    for name, places in (("first", comparison.only_first), ("second", comparison.only_second)):
        if places:
            rows = dict.fromkeys((table, row) for table, _, row, *_ in places)
            listed = "; ".join(f"{table}: {row}" for table, row in rows)
            lines += ["", f"Only the {name} run has {len(places)} cells, of the rows {listed}."]
    for what, differences in (("studies", comparison.study), ("records of the runs", comparison.made_by)):
        lines += ["", f"The {what} differ in:" if differences else f"The {what} are the same."]
        lines += [f"  {difference}" for difference in differences]
    return "\n".join(lines)


def _grouped(moved: tuple[Moved, ...]) -> dict[tuple[str, str], list[Moved]]:
    groups: dict[tuple[str, str], list[Moved]] = {}
    for cell in moved:
        groups.setdefault((cell.table, cell.model), []).append(cell)
    return groups


def _said(estimate: tuple[float, float, float], metric: str) -> str:
    value, low, high = (number(part, named(metric).digits) for part in estimate)
    return f"{value} ({low} to {high})"
