"""Metrics as a reader meets them: their names, how their numbers are written, what a difference says in words.

    number(0.4137, 3), signed(-0.0712, 3)          # "0.414", "−0.071"
    change(cell)                                   # "average maximum toxicity fell by 0.071 (0.042 to 0.099)"

A cell is one line of a table's CSV (tables.py).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import fitting, parse_json, read_json, sha256_of
from lm_steer.util.formats import read_csv, require_rows
from lm_steer.util.progress import say

Cell = dict[str, Any]

TEXT_COLUMNS = ("model", "row", "setting", "prompts", "metric", "scorer", "version")
NUMBER_COLUMNS = ("value", "low", "high", "difference", "difference_low", "difference_high", "seed_low", "seed_high")
COUNT_COLUMNS = ("n_prompts", "n_generations", "seeds", "left_out")
# What identifies a cell of a table.
PLACE = ["model", "row", "prompts", "metric"]
# What is read of a study that the workflow has resolved.
STUDY = {
    "title": str,
    "seeds": [int],
    "steered": [str],
    "models": {str: {"source": str, "id": str}},
    "datasets": {str: {"source": str, "path": str}},
    "steers": {str: {"dataset": str, "dimensions": [str]}},
    "prompts": {str: {"source": str, "dataset": str, "path": str, "toxic": bool}},
    "sampling": {"samples": int, "new_tokens": int, "top_p": int | float, "top_k": int},
    "scorers": {str: {"kind": str, "model": str}},
    "settings": {
        str: {
            **{"prompts": str, "scorers": [str], "steer": {str: {str: int | float}}, "sampling": dict},
            **{"against": str, "generations": str},
        }
    },
    "tables": {str: {"title": str, "rows": {str: [str]}, "scorers": [str]}},
    "agreement": {str: {"scorers": [str]}},
    "analyses": {str: {str: dict}},
}
# The parts of a study whose blocks name blocks of other parts, by which key.
REFERENCES = (
    *(("settings", "prompts", "prompts"), ("settings", "scorers", "scorers"), ("settings", "steer", "steers")),
    *(("settings", "against", "settings"), ("steers", "dataset", "datasets"), ("prompts", "dataset", "datasets")),
    *(("scorers", "model", "models"), ("tables", "scorers", "scorers"), ("agreement", "scorers", "scorers")),
)


@dataclass(frozen=True)
class Measure:
    """A metric as a column's heading and within a sentence; `better` is −1, +1, or 0 where the aim decides."""

    heading: str
    name: str
    better: int
    digits: int
    unit: str = ""

    @property
    def arrow(self) -> str:
        """Which way is better, as the field marks it."""
        return {-1: "↓", 0: "", 1: "↑"}[self.better]


# In the order of the paper's tables 1 and 3; the first of them that a table has is what it is about.
MEASURES = {
    "avg_max_toxicity": Measure("Avg. max. toxicity", "average maximum toxicity", -1, 3),
    "toxicity_probability": Measure("Toxicity prob.", "toxicity probability", -1, 3),
    "positivity": Measure("Positive,\N{NO-BREAK SPACE}%", "the share judged positive", 0, 1, " points"),
    "perplexity": Measure("Perplexity", "perplexity", -1, 1),
    "dist_1": Measure("Dist-1", "dist-1", 1, 3),
    "dist_2": Measure("Dist-2", "dist-2", 1, 3),
    "dist_3": Measure("Dist-3", "dist-3", 1, 3),
}
VARIANTS = {
    "perplexity_unfiltered": Measure("Mean, unfiltered", "unfiltered perplexity", -1, 1),
    "perplexity_median": Measure("Median", "median perplexity", -1, 1),
    "perplexity_pooled": Measure("Pooled", "pooled perplexity", -1, 1),
}
HEADLINES = ("avg_max_toxicity", "positivity")
PRICE = "perplexity"


def read_study(text: str, path: str | Path) -> dict[str, Any]:
    """Parse a resolved study that stands in `path`; LMSteerError names what is not as the workflow writes it."""
    study = fitting(parse_json(text, path), STUDY, path)
    for part, key, there in REFERENCES:
        for name, block in study[part].items():
            names = [block[key]] if isinstance(block[key], str) else block[key]
            for lacking in set(filter(None, names)) - set(study[there]):
                raise LMSteerError(f"{path}, {part}.{name}: there is no '{lacking}' under {there}")
    return study


def read_cells(path: Path, study: dict[str, Any] | None = None) -> list[Cell]:
    """Read a table's CSV; a model or a row may be called `NA` or `None` and stays that.

    Raises LMSteerError where a row is not one that `lm-steer table` writes, or of a setting that the study lacks.
    """
    if not path.exists():
        raise LMSteerError(f"{path}: there is no such file: make it with `lm-steer table`")
    frame = read_csv(path, texts=TEXT_COLUMNS, numbers=COUNT_COLUMNS, gaps=NUMBER_COLUMNS)
    require_rows(frame, path)
    known = {"metric": MEASURES | VARIANTS, **({"setting": study["settings"]} if study else {})}
    for column, names in known.items():
        for number, name in enumerate(frame[column], start=1):
            if name not in names:
                raise LMSteerError(f"{path}, row {number}: unknown {column} '{name}': make the table again")
    repeated = frame.index[frame.duplicated(PLACE)]
    if len(repeated):
        raise LMSteerError(f"{path}, row {repeated[0] + 1} repeats an earlier one: make the table again")
    return frame.to_dict("records")


def edited(results: Path) -> list[str]:
    """Return the tables that are not those on the record of the run: edited by hand, or made since."""
    record = results / "run.json"
    known = read_json(record, dict).get("tables", {}) if record.exists() else {}
    fitting(known, {str: str}, record, "tables")
    checksums = {Path(path).name: checksum for path, checksum in known.items()}
    paths = [path for path in sorted((results / "tables").glob("*.csv")) if path.name in checksums]
    return [path.stem for path in paths if sha256_of(path) != checksums[path.name]]


def read_tables(study: dict[str, Any], results: Path) -> dict[str, list[Cell]]:
    """Read those tables of a study that are there, and say which are not those of the record."""
    for name in edited(results):
        say(f"{results / 'tables' / name}.csv is not the table on the record of the run: it was edited, or made since")
    files = {name: results / "tables" / f"{name}.csv" for name in study["tables"]}
    return {name: read_cells(path, study) for name, path in files.items() if path.exists()}


def measure(name: str) -> Measure:
    """Return how a metric is shown."""
    return MEASURES.get(name) or VARIANTS[name]


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


def direction(cell: Cell) -> int:
    """Return −1 or +1 where the interval of the difference lies on that side of 0, else 0."""
    low, high = cell["difference_low"], cell["difference_high"]
    return int(low > 0) - int(high < 0)


def verdict(cell: Cell) -> str:
    """Return `better`, `worse` or `other` (no side is better), and `none` where the interval holds 0."""
    side, better = direction(cell), measure(cell["metric"]).better
    if not side:
        return "none"
    return {1: "better", -1: "worse", 0: "other"}[side * better]


def compared(cell: Cell) -> bool:
    """Whether a cell has a difference to unsteered, with an interval."""
    return all(math.isfinite(cell[key]) for key in ("difference", "difference_low", "difference_high"))


def change(cell: Cell) -> str:
    """Say what the difference to unsteered is, and whether it can be told from 0."""
    shown = measure(cell["metric"])
    side = direction(cell)
    low, high = cell["difference_low"], cell["difference_high"]
    if not side:
        span = f"{signed(low, shown.digits)} to {signed(high, shown.digits)}"
        value = signed(cell["difference"], shown.digits)
        return f"the difference in {shown.name} cannot be told from 0 ({value}; {span})"
    near, far = sorted((abs(low), abs(high)))
    verb = "rose" if side > 0 else "fell"
    size = f"{number(abs(cell['difference']), shown.digits)}{shown.unit}"
    return f"{shown.name} {verb} by {size} ({number(near, shown.digits)} to {number(far, shown.digits)})"


def headline_of(cells: list[Cell]) -> str:
    """Return the metric that a table is about: the first of MEASURES that it has."""
    present = {cell["metric"] for cell in cells}
    return next(name for name in MEASURES if name in present)
