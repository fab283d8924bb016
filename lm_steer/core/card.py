"""The model card of a steer: what it is, its training data, its measured effects, and its intended use.

text = card(steer, "me/detox-smollm2", ["results/tables/detoxification.csv"], intended_use="…")

Numbers come from tables that `lm-steer table` made: rows that are compared with an unsteered one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
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

    Raises LMSteerError where a table is not one of `lm-steer table`, or has no such row.
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
        cells=[cell for table in tables for cell in _cells(Path(table), rows)],
        intended_use=intended_use or INTENDED_USE,
    )
    return text


def _cells(table: Path, rows: Sequence[str]) -> list[dict[str, Any]]:
    """Return a table's cells that have a difference to an unsteered row."""
    frame = read_csv(table, TEXTS, COUNTS, NUMBERS)
    require_rows(frame, table)
    if table.stem in edited(table.parent.parent):
        raise LMSteerError(f"{table} is not the table that run.json records: make the table again")
    unknown = [row for row in rows if row not in set(frame["row"])]
    if unknown:
        raise LMSteerError(f"{table} has no row '{unknown[0]}': it has {', '.join(frame['row'].unique())}")
    kept = frame[frame["difference"].notna() & (frame["row"].isin(rows) if rows else True)]
    cells: list[dict[str, Any]] = kept[[*TEXTS, *NUMBERS, *COUNTS]].to_dict("records")
    return cells
