"""Check what a command reads and writes before it starts. A path is read unless it is marked.

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
    """Marks an option that names inputs; of a folder, only some parts may be read."""

    def __init__(self, *parts: str) -> None:
        self.parts = parts or ("",)


class Writes(NamedTuple):
    """Marks an option that names outputs: files, with one of `suffixes` if there are any, or folders of a kind."""

    kind: Kind | None = None
    suffixes: tuple[str, ...] = ()


# A path as text, because it may be an id instead.
Input = Annotated[str, Reads()]
Inputs = Annotated[list[str], Reads()]

# What tables and analyses read in a folder of results, and what the page reads.
STUDIED = ("models", "data", "prompts", "steers", "adapters", "judges", "generations", "scores", "benchmarks")
SHOWN = (*STUDIED, "tables", "analyses", "agreement", "study.json", "run.json")


def check_paths(options: Mapping[str, tuple[Any, Iterable[Any]]]) -> None:
    """Raise LMSteerError unless every output may be written and replaces no input or other output.

    `options` has the value and the marks of each option by name.
    """
    inputs: dict[Path, str] = {}
    outputs: dict[Path, str] = {}
    for option, (value, marks) in options.items():
        items = [item for item in (value if isinstance(value, (list, tuple)) else [value]) if item]
        unmarked = Reads() if any(isinstance(item, Path) for item in items) else None
        mark = next((mark for mark in marks if isinstance(mark, (Reads, Writes))), unmarked)
        if isinstance(mark, Writes):
            for path in items:
                target = _target(option, path, mark)
                _refuse(option, path, outputs.get(target))
                outputs[target] = option
        elif mark:
            for item in items if mark.parts[0] else ():
                if os.path.lexists(item) and not os.path.isdir(item):
                    raise LMSteerError(f"{option}: {item} is not a folder: name a folder")
            for path in (Path(item, part) for item in items for part in mark.parts):
                if inputs.get(real := Path(os.path.realpath(path))) == option:
                    raise LMSteerError(f"{option} names {path} twice: name each file once")
                # A text may be an id; the cache folder may not exist yet.
                is_path = os.path.lexists(path) or isinstance(value, Path)
                inputs |= {real: option} if is_path else {}
            # The value of `key=value` may be a path.
            values = [item.partition("=")[2] for item in items if isinstance(item, str)]
            inputs |= {Path(os.path.realpath(value)): option for value in values if value and os.path.lexists(value)}
    for path, option in outputs.items():
        # A new file in a folder that is read destroys nothing.
        _refuse(option, path, _around(path.parent, outputs) or (_around(path, inputs) if path.exists() else None))
    for path, option in inputs.items():
        if writer := _around(path, outputs):
            _refuse(writer, path, option)


def _target(option: str, path: str | Path, mark: Writes) -> Path:
    if mark.suffixes and Path(path).suffix not in mark.suffixes:
        raise LMSteerError(f"{option}: expected a {' or '.join(mark.suffixes)} file, found {path}")
    try:
        return writable(path, mark.kind)
    except LMSteerError as error:
        raise LMSteerError(f"{option}: {error}") from None


def _around(path: Path, options: Mapping[Path, str]) -> str | None:
    """Return the option that names a path, or a folder around it."""
    return next((options[folder] for folder in (path, *path.parents) if folder in options), None)


def _refuse(option: str, path: str | Path, other: str | None) -> None:
    if other:
        raise LMSteerError(f"{option} would replace {path}, which {other} names as well: choose another path")
