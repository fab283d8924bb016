"""The model card of a steer: what it is, its training data, its measured effects, and its intended use.

text = card(steer, "me/detox-smollm2", ["results/tables/detoxification.csv"], intended_use="…")

Numbers come from tables that `lm-steer table` made: rows that are compared with an unsteered one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd
from huggingface_hub import ModelCardData

from lm_steer.data.results import edited
from lm_steer.util.errors import LMSteerError
from lm_steer.util.formats import read_csv, require_rows

if TYPE_CHECKING:
    from lm_steer.core.steer import Steer

TEMPLATE = Path(__file__).parent / "card.md"
INTENDED_USE = (
    "Research on controlled generation. A steer shifts what a model tends to say; it gives no guarantee about any "
    "single text, and a negative value makes the opposite more likely."
)
TEXTS = ("model", "row", "prompts", "metric", "scorer", "version")
NUMBERS = ("value", "low", "high", "difference", "difference_low", "difference_high")
COUNTS = ("n_prompts", "n_generations")


def card(
    steer: "Steer",
    repo: str,
    tables: Sequence[str | Path] = (),
    rows: Sequence[str] = (),
    intended_use: str = "",
) -> str:
    """Return the card as markdown with the hub's metadata; `rows` keeps these labels of the tables alone.

    Raises LMSteerError where a table is not one of `lm-steer table`, or none has such a row.
    """
    about = steer.about
    # The hub's own ids alone: it links them.
    base = str(about.get("model", ""))
    metadata = ModelCardData(
        library_name="lm-steer",
        tags=["lm-steer", "controlled-generation"],
        pipeline_tag="text-generation",
        base_model=base if base.count("/") == 1 else None,
    )
    template = jinja2.Template(TEMPLATE.read_text(encoding="utf-8"), trim_blocks=True, lstrip_blocks=True)
    name = next((name for name in steer.dimensions if name != "corpus"), steer.dimensions[0])
    text: str = template.render(
        metadata=metadata.to_yaml(),
        steer=steer,
        size=sum(weight.numel() for weight in steer.weights.values()),
        repo=repo,
        name=repo.split("/")[-1],
        about=about,
        recipe=about.get("recipe", {}),
        # What Python cannot write as a name goes by mapping.
        values=f"{name}=5" if name.isidentifier() else f'{{"{name}": 5}}',
        cells=_cells([Path(table) for table in tables], rows),
        intended_use=intended_use or INTENDED_USE,
    )
    return text


def _cells(tables: Sequence[Path], rows: Sequence[str]) -> list[dict[str, Any]]:
    """Return the cells of tables that have a difference to an unsteered row."""
    frames = {table: _read(table) for table in tables}
    labels = dict.fromkeys(label for frame in frames.values() for label in frame["row"])
    unknown = [row for row in rows if row not in labels]
    if unknown:
        raise LMSteerError(f"{', '.join(map(str, tables))} has no row '{unknown[0]}': it has {', '.join(labels)}")
    cells: list[dict[str, Any]] = []
    for frame in frames.values():
        chosen = frame[frame["difference"].notna() & (frame["row"].isin(rows) if rows else True)]
        cells += chosen[[*TEXTS, *NUMBERS, *COUNTS]].to_dict("records")
    return cells


def _read(table: Path) -> pd.DataFrame:
    frame = read_csv(table, TEXTS, COUNTS, NUMBERS)
    require_rows(frame, table)
    if table.stem in edited(table.parent.parent):
        raise LMSteerError(f"{table} is not the table that run.json records: make the table again")
    return frame
