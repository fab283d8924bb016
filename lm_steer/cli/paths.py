"""What a command reads and writes, checked before it starts: a path is read, unless it is marked.

texts: Annotated[Path, typer.Option()]
output: Annotated[Path, typer.Option(), Writes(MODEL)]
results: Annotated[Path, typer.Option(), Reads(below("scores", "generations"))]
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from lm_steer.util.errors import LMSteerError
from lm_steer.util.outputs import Kind, writable

Find = Callable[[Any], Iterable[str | Path]]


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


class Reads(NamedTuple):
    """Marks an option that names inputs: all that `find` finds in its value."""

    find: Find = _listed


class Writes(NamedTuple):
    """Marks an option that names outputs, files or folders of a kind: all that `find` finds in its value."""

    kind: Kind | None = None
    find: Find = _listed


# A path that is given as a text, for it may be an id instead.
Input = Annotated[str, Reads()]
Inputs = Annotated[list[str], Reads()]


def below(*names: str) -> Find:
    """Find only parts of a folder."""
    return lambda folder: [Path(folder, name) for name in names]


# What tables and analyses are made from in a folder of results, and what they are shown with.
STUDIED = ["models", "data", "prompts", "steers", "adapters", "judges", "generations", "scores", "benchmarks"]
SHOWN = [*STUDIED, "tables", "analyses", "agreement", "study.json", "run.json"]


def check_paths(options: Mapping[str, tuple[Any, Iterable[Any]]]) -> None:
    """Raise LMSteerError unless every output may be written, and replaces no input and no other output.

    `options` has the value and the marks of each option by its name.
    """
    inputs: dict[Path, str] = {}
    outputs: dict[Path, str] = {}
    for option, (value, marks) in options.items():
        plain: list[Reads | Writes] = [Reads()] if any(isinstance(part, Path) for part in _listed(value)) else []
        marked: list[Reads | Writes] = [mark for mark in marks if isinstance(mark, (Reads, Writes))]
        for mark in marked or plain:
            for path in (each for each in mark.find(value) if each):
                if isinstance(mark, Reads):
                    if mark.find is _listed and inputs.get(Path(os.path.realpath(path))) == option:
                        raise LMSteerError(f"{option} names {path} twice: name each file once")
                    inputs |= {Path(os.path.realpath(path)): option} if os.path.lexists(path) else {}
                    continue
                try:
                    target = writable(path, mark.kind)
                except LMSteerError as error:
                    raise LMSteerError(f"{option}: {error}") from None
                _refuse(option, path, outputs.get(target))
                outputs[target] = option
    for path, option in outputs.items():
        # What is new destroys nothing in a folder that is read.
        _refuse(option, path, _around(path.parent, outputs) or (path.exists() and _around(path, inputs)))
    for path, option in inputs.items():
        _refuse(_around(path, outputs), path, _around(path, outputs) and option)


def _around(path: Path, named: Mapping[Path, str]) -> str | None:
    """Return the option that names a path, or a folder that it lies in."""
    return next((named[folder] for folder in (path, *path.parents) if folder in named), None)


def _refuse(option: str | None, path: str | Path, other: str | bool | None) -> None:
    if other:
        raise LMSteerError(f"{option} would replace {path}, which {other} names as well: choose another path")
