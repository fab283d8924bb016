"""What a command reads and writes, checked before it starts: a path is read, unless it is marked.

texts: Annotated[Path, typer.Option()]
output: Annotated[Path, typer.Option(), Writes(MODEL)]
results: Annotated[Path, typer.Option(), Reads("scores", "generations")]
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from lm_steer.util.errors import LMSteerError
from lm_steer.util.outputs import Kind, writable


class Reads:
    """Marks an option that names inputs; of a folder, parts alone may be read."""

    def __init__(self, *parts: str) -> None:
        self.parts = parts or ("",)


class Writes(NamedTuple):
    """Marks an option that names outputs: files with one of some suffixes, if there are any, or folders of a kind."""

    kind: Kind | None = None
    suffixes: tuple[str, ...] = ()


# A path that is given as a text, for it may be an id instead.
Input = Annotated[str, Reads()]
Inputs = Annotated[list[str], Reads()]

# What tables and analyses are made from in a folder of results, and what they are shown with.
STUDIED = ("models", "data", "prompts", "steers", "adapters", "judges", "generations", "scores", "benchmarks")
SHOWN = (*STUDIED, "tables", "analyses", "agreement", "study.json", "run.json")


def check_paths(options: Mapping[str, tuple[Any, Iterable[Any]]]) -> None:
    """Raise LMSteerError unless every output may be written, and replaces no input and no other output.

    `options` has the value and the marks of each option by its name.
    """
    inputs: dict[Path, str] = {}
    outputs: dict[Path, str] = {}
    for option, (value, marks) in options.items():
        given = [each for each in (value if isinstance(value, (list, tuple)) else [value]) if each]
        unmarked = Reads() if any(isinstance(each, Path) for each in given) else None
        mark = next((mark for mark in marks if isinstance(mark, (Reads, Writes))), unmarked)
        if isinstance(mark, Writes):
            for path in given:
                target = _target(option, path, mark)
                _refuse(option, path, outputs.get(target))
                outputs[target] = option
        elif mark:
            for path in (Path(each, part) for each in given for part in mark.parts):
                if inputs.get(real := Path(os.path.realpath(path))) == option:
                    raise LMSteerError(f"{option} names {path} twice: name each file once")
                # A text may be an id; a folder of caches is made where it is not there.
                is_path = os.path.lexists(path) or isinstance(value, Path)
                inputs |= {real: option} if is_path else {}
            # Of `key=value` the value may be a path.
            values = [each.partition("=")[2] for each in given if isinstance(each, str)]
            inputs |= {Path(os.path.realpath(value)): option for value in values if value and os.path.lexists(value)}
    for path, option in outputs.items():
        # What is new destroys nothing in a folder that is read.
        _refuse(option, path, _around(path.parent, outputs) or (_around(path, inputs) if path.exists() else None))
    for path, option in inputs.items():
        if writer := _around(path, outputs):
            _refuse(writer, path, option)


def _target(option: str, path: str | Path, mark: Writes) -> Path:
    if mark.suffixes and Path(path).suffix not in mark.suffixes:
        raise LMSteerError(f"{option}: {path} is neither a {' nor a '.join(mark.suffixes)}")
    try:
        return writable(path, mark.kind)
    except LMSteerError as error:
        raise LMSteerError(f"{option}: {error}") from None


def _around(path: Path, named: Mapping[Path, str]) -> str | None:
    """Return the option that names a path, or a folder that it lies in."""
    return next((named[folder] for folder in (path, *path.parents) if folder in named), None)


def _refuse(option: str, path: str | Path, other: str | None) -> None:
    if other:
        raise LMSteerError(f"{option} would replace {path}, which {other} names as well: choose another path")
