"""What a command reads and writes, marked on its options and checked before it starts.

output: Annotated[Path, typer.Option(), Writes(MODEL)]
results: Annotated[Path, typer.Option(), Reads(("scores", "generations"))]
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from lm_steer.errors import LMSteerError
from lm_steer.outputs import Kind, writable

# What is in a folder of results beside tables and analyses, and what those are shown with.
MADE = (
    "models",
    "data",
    "prompts",
    "steers",
    "adapters",
    "judges",
    "generations",
    "scores",
    "benchmarks",
    "study.json",
)
SHOWN = (*MADE, "tables", "analyses", "agreement", "run.json")


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


class Reads(NamedTuple):
    """Marks an option that names inputs: what `find` finds in its value, or parts below that."""

    below: tuple[str, ...] = (".",)
    find: Callable[[Any], Iterable[str | Path]] = _listed


class Writes(NamedTuple):
    """Marks an option that names outputs, files or folders of a kind: what `find` finds in its value."""

    kind: Kind | None = None
    find: Callable[[Any], Iterable[str | Path]] = _listed


def in_json(text: str) -> list[str]:
    """Return the inputs that a JSON document names; none where it is not valid."""
    found: list[Any] = []

    def look(block: dict[str, Any]) -> None:
        for key in ("path", "paths", "resource", "generations", "scores"):
            found.extend(_listed(block.get(key)))

    with suppress(ValueError, RecursionError):
        json.loads(text, object_hook=look)
    return [path for path in found if isinstance(path, str)]


def check_paths(options: Mapping[str, tuple[Any, Iterable[Any]]]) -> None:
    """Raise LMSteerError unless every output may be written and is apart from other outputs and from inputs.

    `options` has the value and the marks of each option by its name.
    """
    inputs: dict[Path, str] = {}
    outputs: dict[Path, str] = {}
    for option, (value, marks) in options.items():
        for mark in marks:
            if isinstance(mark, Reads):
                named = [os.path.join(path, below) for path in mark.find(value) if path for below in mark.below]
                inputs |= {Path(os.path.realpath(path)): option for path in named if os.path.lexists(path)}
            for path in mark.find(value) if isinstance(mark, Writes) else ():
                try:
                    target = writable(path, mark.kind)
                except LMSteerError as error:
                    raise LMSteerError(f"{option}: {error}") from None
                _refuse(option, path, outputs.get(target))
                outputs[target] = option
    for path, option in outputs.items():
        _refuse(option, path, _around(path.parent, outputs))
        # What is new destroys nothing in a folder that is read.
        _refuse(option, path, _around(path, inputs) if os.path.lexists(path) else None)
    for path, option in inputs.items():
        _refuse(_around(path, outputs), path, option if _around(path, outputs) else None)


def _around(path: Path, named: Mapping[Path, str]) -> str | None:
    """Return the option that named a path or a folder around it."""
    return next((named[folder] for folder in (path, *path.parents) if folder in named), None)


def _refuse(option: str | None, path: str | Path, other: str | None) -> None:
    if other:
        raise LMSteerError(f"{option} would replace {path}, which {other} names too: choose another path")
