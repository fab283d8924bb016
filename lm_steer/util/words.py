"""Numbers and names as messages and labels write them, and values by name as people do."""

import difflib
from collections.abc import Iterable
from typing import Any

from lm_steer.util.errors import LMSteerError

# The dimension that is held at 1 in training, and absorbs what merely distinguishes the texts from the model's own.
CORPUS = "corpus"


def number(value: float) -> str:
    """Return a number in short, but with all its digits: 1000001 is not 1e+06."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def signed(value: float) -> str:
    """Return a steer value as labels have it: `+5`, `-2.5`, `0`."""
    return f"{'+' if value > 0 else ''}{number(value)}"


def unknown(name: Any, known: Iterable[str], what: str) -> str:
    """Say that there is no block of a name, which one may be meant, and which there are."""
    names = list(known)
    return f"there is no {what} '{name}'{near(name, names)}; there are {', '.join(names) or 'none'}"


def near(name: Any, known: Iterable[Any]) -> str:
    """Return the nearest known name as a question in brackets, or nothing where none is near."""
    close = difflib.get_close_matches(str(name), [str(other) for other in known], n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def quoted(names: Iterable[str]) -> str:
    """Return names in quotes, by comma."""
    return ", ".join(f"'{name}'" for name in names)


def pairs_of(option: str, given: Iterable[str], example: str) -> dict[str, str]:
    """Return what `key=value` words say; LMSteerError for one that is none, and for a key that stands twice."""
    pairs: dict[str, str] = {}
    for word in given:
        key, _, value = word.partition("=")
        if not (key and value.strip()):
            raise LMSteerError(f"{option}: expected a name and its value, as `{example}`, found {word!r}")
        if key in pairs:
            raise LMSteerError(f"{option} gives {key} twice, as {pairs[key]!r} and {value!r}: choose one")
        pairs[key] = value
    return pairs
