"""The model card of a steer (what it is, training data, measured effects, use), and the upload of both to the hub.

    lm-steer push results/steers/smollm2/detox/seed0 me/detox-smollm2 --table results/tables/detoxification.csv

    steer.push_to_hub("me/detox-smollm2")
    steer = Steer.from_pretrained("me/detox-smollm2", revision="…")

Numbers come from tables written by `lm-steer table`: rows that are compared with an unsteered one.
"""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import jinja2
from huggingface_hub import HfApi, ModelCardData

from lm_steer.core.steer import Steer
from lm_steer.fetch.hub import from_hub
from lm_steer.report.wording import compared
from lm_steer.tables.cells import Cell, edited, read_cells
from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import check_kind

TEMPLATE = Path(__file__).parent / "card.md"
INTENDED_USE = (
    "Research on controlled generation. A steer shifts what a model tends to say; it gives no guarantee about any "
    "single text, and a negative value makes the opposite more likely."
)


def push(
    steer: Steer,
    repo: str,
    tables: Sequence[str | Path] = (),
    rows: Sequence[str] = (),
    intended_use: str = "",
    private: bool = False,
    message: str = "Upload steer",
) -> str:
    """Commit a steer and its card to a model repository, created if needed; return the commit's URL.

    tables      CSV files of `lm-steer table`, whose numbers the card lists
    rows        only the rows with these labels

    The login is that of huggingface_hub. Raises LMSteerError if a table was not written by `lm-steer table`, or none
    has such a row.
    """
    check_kind(str, repo=repo)
    check_kind(Steer, steer=steer)
    check_kind(list | tuple, tables=tables, rows=rows)
    for table in tables:
        check_kind(str | Path, tables=table)
    text = card(steer, repo, _chosen([Path(table) for table in tables], rows), intended_use)
    with tempfile.TemporaryDirectory() as folder:
        steer.save_pretrained(folder)
        (Path(folder) / "README.md").write_text(text, encoding="utf-8")

        def upload() -> str:
            hub = HfApi()
            hub.create_repo(repo, private=private, exist_ok=True)
            return hub.upload_folder(repo_id=repo, folder_path=folder, commit_message=message).commit_url

        return from_hub(repo, "main", "or pass the folder on", upload, "pushed to")


def card(steer: Steer, repo: str, cells: Iterable[Cell] = (), intended_use: str = "") -> str:
    """Return the card as markdown with the hub's metadata; it lists the cells that have a difference to unsteered."""
    about = steer.about
    # Only ids of the hub, which it shows as links.
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
        # A name that is not a Python identifier is passed in a mapping.
        values=f"{name}=5" if name.isidentifier() else f'{{"{name}": 5}}',
        cells=[cell for cell in cells if compared(cell)],
        intended_use=intended_use or INTENDED_USE,
    )
    return text


def _chosen(tables: Sequence[Path], rows: Sequence[str]) -> list[Cell]:
    cells: list[Cell] = []
    for table in tables:
        cells += read_cells(table)
        if table.stem in edited(table.parent.parent):
            raise LMSteerError(f"{table} differs from the one recorded in run.json: write it again")
    labels = dict.fromkeys(cell["row"] for cell in cells)
    if unknown := [row for row in rows if row not in labels]:
        raise LMSteerError(f"{', '.join(map(str, tables))} has no row '{unknown[0]}': it has {', '.join(labels)}")
    return [cell for cell in cells if not rows or cell["row"] in rows]
