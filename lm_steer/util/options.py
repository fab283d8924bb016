"""Options of commands, keys of studies and fields of recipes: one type each, with its range.

    steps: Steps = 1000                           # of a command, or of Recipe
    steps: Steps = Field(1000)                    # of a study's steer
    check("steps", 0, Steps.__metadata__)         # LMSteerError: steps: expected a whole number from 1 to …, found 0

pydantic reads these types in study/ but is not imported here, because training and generation do not need it.
"""

import operator
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_origin

from lm_steer.util.errors import LMSteerError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Below this, sizes and indices of tensors do not overflow.
MOST = 10**9
MOST_SHARDS = 10_000
READERS: dict[type, Callable[[Any], Any]] = {int: int, float: float, bool: {"true": True, "false": False}.__getitem__}
# The types of arguments in plain words.
KINDS: dict[Any, str] = {
    str: "text",
    str | Path: "a path",
    Mapping: "a mapping",
    Iterable: "a list",
    list | tuple: "a list",
}
JSON_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}
JSON_BOUNDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum"}
Instance = TypeVar("Instance", bound="DataclassInstance")


@dataclass(frozen=True, eq=False)
class Rule:
    """What a value must be: its type, a description in words, and bounds by pydantic's names."""

    kind: type
    words: str
    bounds: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.words

    def allows(self, value: Any) -> bool:
        """Whether a value has the type and is within the bounds; true, NaN and infinity are not numbers."""
        if self.kind in (str, bool):
            return isinstance(value, self.kind) and bool(re.fullmatch(self.bounds.get("pattern", ".*"), str(value)))
        fits = is_whole(value) if self.kind is int else is_number(value)
        return fits and all(getattr(operator, name)(value, bound) for name, bound in self.bounds.items())

    def read(self, value: Any) -> Any:
        """Return a value, or the one that a text such as YAML's `1e-2` means; ValueError if it breaks the rule."""
        if isinstance(value, str) and self.kind in READERS:
            with suppress(ValueError, KeyError):
                value = READERS[self.kind](value)
        if not self.allows(value):
            raise ValueError(f"expected {self}, found {value!r:.80}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, source: Any, handler: Any) -> dict[str, Any]:
        bounds = {JSON_BOUNDS.get(name, name): bound for name, bound in self.bounds.items()}
        return {"type": JSON_TYPES[self.kind], **bounds}


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number; true and 5.0 are not."""
    return isinstance(value, int) and is_number(value)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that a float can hold."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _whole(least: int, most: int = MOST) -> Rule:
    return Rule(int, f"a whole number from {least} to {most:,}", {"ge": least, "le": most})


LETTERS = "[A-Za-z0-9_][A-Za-z0-9_-]*"
A_DIMENSION = Rule(str, "a name of letters, digits, hyphens and underscores", {"pattern": f"^{LETTERS}$"})
A_STEER_VALUE = Rule(float, f"a number from -{MOST:,} to {MOST:,}", {"ge": -MOST, "le": MOST})
A_KIND = Rule(str, "multiply, add or offset", {"pattern": "^(multiply|add|offset)$"})
A_CHOICE = Rule(bool, "true or false")
A_PORT = _whole(1, 65535)
A_POSITIVE_NUMBER = Rule(float, "a number above 0, at most 1e30", {"gt": 0, "le": 1e30})
A_FINITE_NUMBER = Rule(float, "a finite number")

Count = Annotated[int, _whole(0)]
TopK = Count
Positive = Annotated[int, _whole(1)]
Rank = Positive
Steps = Positive
BatchSize = Positive
# All samples of a prompt are drawn together.
Samples = Annotated[int, _whole(1, 10_000)]
NewTokens = Samples
AtLeastTwo = Annotated[int, _whole(2)]
MaxLength = AtLeastTwo
# The seeds of both NumPy and torch.
Seed = Annotated[int, _whole(0, 2**32 - 1)]
Shards = Annotated[int, _whole(1, MOST_SHARDS)]
# A token takes 27 / top_p draws: a much smaller top_p would exhaust memory.
TopP = Annotated[float, Rule(float, "a number from 0.001 to 1", {"ge": 0.001, "le": 1})]
AboveZero = Annotated[float, A_POSITIVE_NUMBER]
Epsilon = AboveZero
LearningRate = AboveZero
LabelScale = AboveZero
QueriesPerSecond = AboveZero
AboveOne = Annotated[float, Rule(float, "a number above 1", {"gt": 1})]
NotNegative = Annotated[float, Rule(float, "a number of at least 0", {"ge": 0})]
Regularization = Annotated[float, Rule(float, f"a number from 0 to {MOST:,}", {"ge": 0, "le": MOST})]
Finite = Annotated[float, A_FINITE_NUMBER]
Choice = Annotated[bool, A_CHOICE]
SteerValue = Annotated[float, A_STEER_VALUE]
Dimension = Annotated[str, A_DIMENSION]
DimensionNames = Annotated[
    str,
    Rule(str, "names of letters, digits, hyphens and underscores, by comma", {"pattern": f"^{LETTERS}(,{LETTERS})*$"}),
]
# Names become paths: a file's name has at most 255 bytes.
Name = Annotated[
    str, Rule(str, "a name of at most 100 letters, digits and hyphens", {"pattern": "^[A-Za-z0-9][A-Za-z0-9-]{0,99}$"})
]
Label = Annotated[str, Rule(str, "one line of text", {"pattern": r"^[^\s\x00-\x1f]([^\x00-\x1f]*[^\s\x00-\x1f])?$"})]


def check(name: str, value: Any, marks: Sequence[Any]) -> None:
    """Raise LMSteerError if a value, or an item of a list, breaks a rule in the metadata of its type."""
    for rule in (mark for mark in marks if isinstance(mark, Rule)):
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if not rule.allows(item):
                raise LMSteerError(f"{name}: expected {rule}, found {item!r:.80}")


def check_as(kind: Any, **arguments: Any) -> None:
    """Raise LMSteerError if an argument of a public function breaks the rule of a type of this module."""
    for name, value in arguments.items():
        check(name, [value], kind.__metadata__)


def check_kind(kind: Any, **arguments: Any) -> None:
    """Raise LMSteerError if an argument of a public function has another type."""
    for name, value in arguments.items():
        if not isinstance(value, kind):
            expected = KINDS.get(kind) or f"a {kind.__name__}"
            raise LMSteerError(f"{name}: expected {expected}, found {' '.join(repr(value).split())[:80]}")


def numbers(name: str, values: Any, rule: Rule) -> list[float]:
    """Return a list, array or tensor of numbers as floats; LMSteerError if it has another type or breaks the rule."""
    values = values.tolist() if hasattr(values, "tolist") else values
    check_kind(Iterable, **{name: values})
    listed = list(values)
    check(name, listed, [rule])
    return [float(value) for value in listed]


def check_unused(user: str, options: dict[str, Any], used: Sequence[str]) -> None:
    """Raise LMSteerError if an option is set that a source or kind does not use."""
    for name, value in options.items():
        if value and name not in used:
            raise LMSteerError(f"{user} does not use the option --{name}: leave it out")


def from_fields(kind: type[Instance], keywords: Mapping[str, Any]) -> Instance:
    """Return an instance of a dataclass; LMSteerError for a keyword that is not one of its fields."""
    known = [one.name for one in fields(kind)]
    for name in keywords:
        if name not in known:
            raise LMSteerError(f"unknown argument '{name}': {kind.__name__} has {', '.join(known)}")
    return kind(**keywords)


def check_fields(instance: Any) -> None:
    """Check the fields of a dataclass against their types."""
    for one in fields(instance):
        value = getattr(instance, one.name)
        if listed := get_origin(getattr(one.type, "__origin__", None)) is tuple:
            check_kind(list | tuple, **{one.name: value})
        check(one.name, value if listed else [value], getattr(one.type, "__metadata__", ()))
