"""A config read by its schema: the types of its values, what does not fit, and defaults.

schema = complete(schema)                     # `$ref: "#/$defs/Rank"` is the type of options.py
config = typed(config, schema)
problems_of(config, schema)                   # ["steers.mood.rank: expected a whole number from 1 to …, found 0"]
"""

import copy
import difflib
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, ValidationError, validators
from pydantic import TypeAdapter

from lm_steer.util import options

Schema = dict[str, Any]
READERS = {"integer": int, "number": float, "boolean": {"true": True, "false": False}.__getitem__}
TYPES = {"object": "a mapping", "array": "a list", "string": "text", "boolean": "true or false"}
SIZES = {
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} keys",
    "maxProperties": "at most {} keys",
    "minLength": "text that is not empty",
}


def _pattern(validator: Any, pattern: str, found: Any, schema: Schema) -> Iterator[ValidationError]:
    """As jsonschema's, but for a line break at the end, which `$` lets pass."""
    if isinstance(found, str) and not re.fullmatch(pattern, found):
        yield ValidationError(f"{found!r} does not match {pattern}")


VALIDATOR = validators.extend(
    Draft202012Validator,
    {"pattern": _pattern},
    # NaN, infinity and 5.0 as a whole number are refused, as on the command line.
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"number": lambda _, value: options.is_number(value), "integer": lambda _, value: options.is_whole(value)}
    ),
)


def complete(schema: Schema) -> Schema:
    """Return the schema with its own definitions, and the types of options.py, in the place of each `$ref`."""

    def filled(part: Any) -> Any:
        if isinstance(part, list):
            return [filled(item) for item in part]
        if not isinstance(part, dict):
            return part
        name = part.get("$ref", "").removeprefix("#/$defs/")
        found = schema["$defs"].get(name) or _type(name) if name else {}
        return {key: filled(value) for key, value in (found | part).items() if key != "$ref"}

    return filled(schema)


@cache
def _type(name: str) -> Schema:
    kind = getattr(options, name)
    return {**TypeAdapter(kind).json_schema(), "expected": str(kind.__metadata__[0])}


def problems_of(config: Any, schema: Schema) -> list[str]:
    """Return a sentence for each key that does not fit the schema."""
    return list(dict.fromkeys(_sentence(error) for error in VALIDATOR(schema).iter_errors(config)))


def _sentence(error: ValidationError) -> str:
    place = ".".join(str(part) for part in error.absolute_path) or "the config"
    found, wanted = error.instance, error.validator_value
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = [key for key in found if key not in known]
        return f"{place}: unknown key {quoted(unknown)}{near(unknown[0], known)}; known are {', '.join(known)}"
    if error.validator == "required":
        missing = [key for key in wanted if key not in found]
        return f"{place}: {quoted(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    if error.validator == "enum":
        return f"{place}: {found!r:.80} is unknown{near(found, wanted)}; choose {', '.join(map(str, wanted))}"
    if error.validator == "uniqueItems":
        return f"{place}: {next(item for item in found if found.count(item) > 1)!r} stands twice"
    if error.validator == "dependentRequired":
        return f"{place}: the keys {quoted(list(wanted))} go together, found {quoted(list(found))} alone"
    if error.validator in SIZES:
        count = repr(found) if isinstance(found, str) else len(found)
        return f"{place}: expected {SIZES[error.validator].format(wanted)}, found {count}"
    if error.validator != "type" and "expected" not in error.schema:
        return f"{place}: {error.message}"
    types = [wanted] if isinstance(wanted, str) else wanted
    expected = error.schema.get("expected") or " or ".join(TYPES[name] for name in types)
    hint = "; write it in quotes" if wanted == "string" and not isinstance(found, (dict, list)) else ""
    return f"{place}: expected {expected}, found {found!r:.80}{hint}"


def near(name: Any, known: list[str]) -> str:
    """Return the nearest known name as a question in brackets, or nothing where none is near."""
    close = difflib.get_close_matches(str(name), [str(key) for key in known], n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def quoted(names: list[str]) -> str:
    """Return names in quotes, by comma."""
    return ", ".join(f"'{name}'" for name in names)


def typed(value: Any, schema: Schema) -> Any:
    """Read text as the number or truth value that the schema asks for: `--config` and `1e-2` in YAML give text."""
    if isinstance(value, dict):
        return {**value, **{key: typed(value[key], part) for key, part in _parts(value, schema)}}
    if isinstance(value, list):
        return [typed(item, schema.get("items", {})) for item in value]
    if isinstance(value, str) and str(schema.get("type")) in READERS:
        try:
            return READERS[schema["type"]](value)
        except (ValueError, KeyError):
            return value
    return value


def with_defaults(value: Any, schema: Schema) -> Any:
    """Fill in the defaults of an object that the schema has passed."""
    if not isinstance(value, dict):
        return value
    for key, part in schema.get("properties", {}).items():
        if "default" in part:
            value.setdefault(key, copy.deepcopy(part["default"]))
    for key, part in _parts(value, schema):
        value[key] = with_defaults(value[key], part)
    return value


def _parts(value: Schema, schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield the keys of an object with the part of the schema that describes each."""
    others = schema.get("additionalProperties")
    for key in value:
        part = schema.get("properties", {}).get(key, others)
        if isinstance(part, dict):
            yield key, part
