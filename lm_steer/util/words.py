"""Numbers and names as messages and labels write them, and `name=value` as users write them."""

import difflib
from collections.abc import Iterable
from typing import Any

from lm_steer.util.errors import LMSteerError

# The dimension fixed at 1 in training, which learns what distinguishes the texts as a whole from the model's.
CORPUS = "corpus"


def number(value: float) -> str:
    """Return a number in short form, but with all its digits: 1000001 is not 1e+06."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def signed(value: float) -> str:
    """Return a steer value as labels write it: `+5`, `-2.5`, `0`."""
    return f"{'+' if value > 0 else ''}{number(value)}"


def unknown(name: Any, known: Iterable[str], what: str) -> str:
    """Return a message that a name is unknown, with the closest known name and all of them."""
    names = list(known)
    return f"there is no {what} '{name}'{near(name, names)}; there are {', '.join(names) or 'none'}"


def near(name: Any, known: Iterable[Any]) -> str:
    """Return the closest known name as a question in brackets, or "" if none is close."""
    close = difflib.get_close_matches(str(name), [str(other) for other in known], n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def quoted(names: Iterable[str]) -> str:
    """Return names in quotes, separated by commas."""
    return ", ".join(f"'{name}'" for name in names)


def pairs_of(option: str, words: Iterable[str], example: str) -> dict[str, str]:
    """Return `key=value` words as a mapping; LMSteerError for any other word, or a key that occurs twice."""
    pairs: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if not (key and value.strip()):
            raise LMSteerError(f"{option}: expected a name and its value, as `{example}`, found {word!r}")
        if key in pairs:
            raise LMSteerError(f"{option} gives {key} twice, as {pairs[key]!r} and {value!r}: choose one")
        pairs[key] = value
    return pairs
