"""Numbers and names as messages and labels write them."""

import difflib
from collections.abc import Iterable
from typing import Any

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
