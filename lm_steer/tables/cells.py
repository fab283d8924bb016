"""Reading tables back from CSV, one cell per line."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_steer.data import layout
from lm_steer.tables.metrics import Metric, in_order, known, named, of_attribute
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import fitting, read_json, sha256_of
from lm_steer.util.formats import read_csv, require_rows
from lm_steer.util.progress import say

if TYPE_CHECKING:
    from lm_steer.study.config import Study

Cell = dict[str, Any]

TEXT_COLUMNS = ("model", "row", "setting", "prompts", "metric", "scorer", "version")
NUMBER_COLUMNS = (
    *("value", "low", "high", "seed_low", "seed_high", "trainings"),
    *("difference", "difference_low", "difference_high"),
)
COUNT_COLUMNS = ("n_prompts", "n_generations", "seeds", "left_out", "dominating", "dominating_share")
# What identifies a cell of a table.
PLACE = ["model", "row", "prompts", "metric"]


def read_cells(path: Path, study: "Study | None" = None) -> list[Cell]:
    """Read a table's CSV; the name of a model or row may be `NA` or `None`.

    Raises LMSteerError for a line that `lm-steer table` would not write, or of a setting that the study lacks.
    """
    if not path.exists():
        raise LMSteerError(f"{path}: no such file: make it with `lm-steer table`")
    frame = read_csv(path, texts=TEXT_COLUMNS, numbers=COUNT_COLUMNS, gaps=NUMBER_COLUMNS)
    require_rows(frame, path)
    if study:
        attributes = [scorer.yields for scorer in study.scorers.values()]
        metrics = {*known(), *(metric.name for attribute in attributes for metric in of_attribute(attribute))}
        for column, names in (("metric", metrics), ("setting", study.settings)):
            for number, name in enumerate(frame[column], start=1):
                if name not in names:
                    raise LMSteerError(f"{path}, row {number}: unknown {column} '{name}': make the table again")
    repeated = frame.index[frame.duplicated(PLACE)]
    if len(repeated):
        raise LMSteerError(f"{path}, row {repeated[0] + 1} repeats an earlier one: make the table again")
    return frame.to_dict("records")


def read_tables(study: "Study", results: Path) -> dict[str, list[Cell]]:
    """Read the existing tables of a study, and report those that differ from the record of the run.

    A cell's `judge` is the study's name of its scorer.
    """
    for name in edited(results):
        say(f"{results / 'tables' / name}.csv differs from the record of the run: it was edited, or made again since")
    files = {name: layout.table(results, name) for name in study.tables}
    return {
        name: [{**cell, "judge": _judge(cell, name, study)} for cell in read_cells(path, study)]
        for name, path in files.items()
        if path.exists()
    }


def edited(results: Path) -> list[str]:
    """Return the names of tables that differ from the record of the run: edited by hand, or made again since."""
    record = results / "run.json"
    known = read_json(record, dict).get("tables", {}) if record.exists() else {}
    fitting(known, {str: str}, record, "tables")
    checksums = {Path(path).name: checksum for path, checksum in known.items()}
    paths = [path for path in sorted((results / "tables").glob("*.csv")) if path.name in checksums]
    return [path.stem for path in paths if sha256_of(path) != checksums[path.name]]


def _judge(cell: Cell, table: str, study: "Study") -> str:
    """Return the study's name of a cell's scorer; if its settings have several, the table names one."""
    chosen, attribute = study.tables[table].scorers, named(cell["metric"]).attribute
    for name in study.settings[cell["setting"]].scorers:
        if study.scorers[name].yields == attribute and (not chosen or name in chosen):
            return name
    return cell["scorer"]


def shown(cells: Iterable[Cell]) -> list[Metric]:
    """Return the metrics that are columns of a table of these cells, in order."""
    return [metric for metric in in_order(cell["metric"] for cell in cells) if not metric.variant]


def headlines(cells: Iterable[Cell]) -> list[str]:
    """Return the names of the cells' metrics that steers aim at."""
    return [metric.name for metric in shown(cells) if metric.headline]


def by_setting(cells: Iterable[Cell], model: str, metric: str) -> dict[str, Cell]:
    """Return a model's cells of one metric by setting; if a setting is in several tables, the first."""
    chosen = [cell for cell in cells if (cell["model"], cell["metric"]) == (model, metric)]
    return {cell["setting"]: cell for cell in reversed(chosen)}


def is_published(cell: Cell) -> bool:
    """Whether the paper has this cell."""
    return cell.get("published", "") != ""
