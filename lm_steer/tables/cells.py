"""Tables read back from CSV: one cell per line."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_steer.data.results import edited
from lm_steer.util.errors import LMSteerError
from lm_steer.util.formats import read_csv, require_rows
from lm_steer.util.progress import say

if TYPE_CHECKING:
    from lm_steer.study.config import Study

Cell = dict[str, Any]

TEXT_COLUMNS = ("model", "row", "setting", "prompts", "metric", "scorer", "version")
NUMBER_COLUMNS = ("value", "low", "high", "difference", "difference_low", "difference_high", "seed_low", "seed_high")
COUNT_COLUMNS = ("n_prompts", "n_generations", "seeds", "left_out")
# What identifies a cell of a table.
PLACE = ["model", "row", "prompts", "metric"]


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


def read_cells(path: Path, study: "Study | None" = None) -> list[Cell]:
    """Read a table's CSV; a model or a row may be called `NA` or `None` and stays that.

    Raises LMSteerError where a row is not one that `lm-steer table` writes, or of a setting that the study lacks.
    """
    if not path.exists():
        raise LMSteerError(f"{path}: there is no such file: make it with `lm-steer table`")
    frame = read_csv(path, texts=TEXT_COLUMNS, numbers=COUNT_COLUMNS, gaps=NUMBER_COLUMNS)
    require_rows(frame, path)
    known: dict[str, Collection[str]] = {
        "metric": MEASURES | VARIANTS,
        **({"setting": study.settings} if study else {}),
    }
    for column, names in known.items():
        for number, name in enumerate(frame[column], start=1):
            if name not in names:
                raise LMSteerError(f"{path}, row {number}: unknown {column} '{name}': make the table again")
    repeated = frame.index[frame.duplicated(PLACE)]
    if len(repeated):
        raise LMSteerError(f"{path}, row {repeated[0] + 1} repeats an earlier one: make the table again")
    return frame.to_dict("records")


def read_tables(study: "Study", results: Path) -> dict[str, list[Cell]]:
    """Read those tables of a study that are there, and say which are not those of the record."""
    for name in edited(results):
        say(f"{results / 'tables' / name}.csv is not the table on the record of the run: it was edited, or made since")
    files = {name: results / "tables" / f"{name}.csv" for name in study.tables}
    return {name: read_cells(path, study) for name, path in files.items() if path.exists()}


def measure(name: str) -> Measure:
    """Return how a metric is shown."""
    return MEASURES.get(name) or VARIANTS[name]
