"""Explain what is wrong with a config, one sentence per problem: the key, what was found, and what was expected.

sentences(error, Study)       # ["steers.mood: unknown key 'stesp' (did you mean 'steps'?); known keys: dataset, …"]
"""

import re
from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import SkipJsonSchema

from lm_steer.util.words import near, quoted

TYPES = {"list_type": "a list", "string_type": "text", "string_unicode": "text in UTF-8"}
TYPES |= dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "a mapping")


class Place(NamedTuple):
    """Where a key is: its path, its block, and `the source 'hub'` if a key selects the type of the block."""

    path: str
    block: type[BaseModel] | None
    variant: str


def sentences(error: ValidationError, whole: type[BaseModel], name: str = "the config") -> list[str]:
    """Return a sentence for each problem; missing keys of a block share one, and so do unknown keys.

    name        what a sentence calls the whole
    """
    gathered: dict[tuple[Place, str], list[str]] = {}
    lines: list[str] = []
    for one in error.errors():
        place = _place(one["loc"], whole)
        if one["type"] in ("missing", "extra_forbidden", "invalid_key"):
            kind = one["type"].replace("invalid_key", "extra_forbidden")
            gathered.setdefault((_place(one["loc"][:-1], whole), kind), []).append(str(one["loc"][-1]))
        else:
            lines.append(f"{place.path or name}: {_sentence(one)}")
    for (place, kind), keys in gathered.items():
        lines += _keys(place, kind, keys, place.path or name)
    return list(dict.fromkeys(lines))


def _keys(place: Place, kind: str, keys: list[str], path: str) -> Iterator[str]:
    fields = place.block.model_fields if place.block else {}
    known = [key for key, field in fields.items() if SkipJsonSchema() not in field.metadata]
    if kind == "missing" and place.variant:
        for key in keys:
            about = (fields[key].description or "").rstrip(".")
            yield f"{path}: {place.variant} needs the key '{key}'{f' ({about})' if about else ''}"
    elif kind == "missing":
        yield f"{path}: {quoted(keys)} {'is' if len(keys) == 1 else 'are'} missing"
    elif place.variant:
        listed = ", ".join(key for key in known if key != place.variant.split()[1]) or "none"
        yield from (f"{path}.{key}: {place.variant} has no such key{near(key, known)}; it has {listed}" for key in keys)
    else:
        yield f"{path}: unknown key {quoted(keys)}{near(keys[0], known)}; known keys: {', '.join(known)}"


def _sentence(error: Any) -> str:
    kind, found, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind in ("literal_error", "union_tag_invalid"):
        value = context.get("tag", found)
        expected = context.get("expected_tags") or context["expected"]
        names = [*filter(None, re.findall(r"'([^']*)'", expected))] or [expected.lower()]
        key = "the " + context["discriminator"].strip("'") + " " if kind == "union_tag_invalid" else ""
        return f"{key}{value!r:.80} is unknown{near(value, names)}; choose {', '.join(names)}"
    if kind == "union_tag_not_found":
        return f"{context['discriminator']} is missing"
    if kind in ("too_short", "string_too_short"):
        least = context["min_length"]
        what = "text that is not empty" if kind == "string_too_short" else f"at least {_items(least, context)}"
        return f"expected {what}, found {len(found) if kind == 'too_short' else repr(found)}"
    if kind == "too_long":
        return f"expected at most {_items(context['max_length'], context)}, found {len(found)}"
    hint = "; write it in quotes" if kind == "string_type" and not isinstance(found, dict | list | None) else ""
    shown = "null" if found is None else repr(found)[:80]
    return f"{f'expected {TYPES[kind]}' if kind in TYPES else error['msg']}, found {shown}{hint}"


def _items(count: int, context: Any) -> str:
    return f"{count} {'key' if context['field_type'] == 'Dictionary' else 'item'}{'s' * (count != 1)}"


def _place(location: Iterable[int | str], whole: type[BaseModel]) -> Place:
    """Follow a pydantic location through the types; tags of unions and `[key]` are not part of the path."""
    path: list[str] = []
    kind: Any = whole
    variant = ""
    for step in location:
        if step == "[key]":
            path.pop()
            continue
        kind, choices = _choices(kind)
        if choices:
            discriminator, blocks = choices
            kind, variant = blocks[step], f"the {discriminator} '{step}'"
            continue
        if get_origin(kind) is list:
            # An item is identified by its value, not by its number.
            (kind,) = get_args(kind)
            continue
        path.append(str(step))
        variant = ""
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(step))
            kind = Annotated[field.annotation, *field.metadata, field] if field else None
        else:
            kind = (None, *get_args(kind))[-1]
    kind, choices = _choices(kind)
    return Place(".".join(path), kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None, variant)


def _choices(kind: Any) -> tuple[Any, Any]:
    """Return a type without annotations; for a union of blocks also the discriminating key, and its value -> block."""
    key = None
    while get_origin(kind) is Annotated:
        kind, *marks = get_args(kind)
        key = next((mark.discriminator for mark in marks if isinstance(mark, FieldInfo) and mark.discriminator), key)
    if key:
        return kind, (key, {get_args(block.model_fields[key].annotation)[0]: block for block in get_args(kind)})
    if get_origin(kind) in (Union, UnionType):
        return _choices(get_args(kind)[0])
    return kind, None
