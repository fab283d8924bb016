"""A study: one config, checked whole before any work, with every default filled in.

study = resolved(config, schema)               # LMSteerError names the key, what was found and what to do
"""

import copy
import difflib
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from lm_steer.errors import LMSteerError

Study = dict[str, Any]
TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
}


def resolved(config: Study, schema: Study) -> Study:
    """Return the config with its defaults; raise LMSteerError naming every key that is wrong."""
    problems = [_sentence(error) for error in Draft202012Validator(schema).iter_errors(config)]
    if not problems:
        config = _with_defaults(copy.deepcopy(config), schema)
        problems = list(_contradictions(config))
    if problems:
        raise LMSteerError("the config is wrong:\n" + "\n".join(f"  {problem}" for problem in problems))
    return config


def _sentence(error: ValidationError) -> str:
    place = ".".join(str(part) for part in error.absolute_path) or "the config"
    found, wanted = error.instance, error.validator_value
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = [key for key in found if key not in known]
        return f"{place}: unknown key {_quoted(unknown)}{_near(unknown[0], known)}; known are {', '.join(known)}"
    if error.validator == "required":
        return f"{place}: the key '{next(key for key in wanted if key not in found)}' is missing"
    if error.validator == "enum":
        return f"{place}: {found!r} is unknown{_near(found, wanted)}; choose {', '.join(map(str, wanted))}"
    if error.validator == "type":
        hint = ": write 0.01 or 1.0e-2" if isinstance(found, str) and _is_number(found) else ""
        return f"{place}: expected {TYPES.get(wanted, wanted)}, found {found!r}{hint}"
    if error.validator == "pattern":
        return f"{place}: the name {found!r} may hold letters, digits and hyphens"
    return f"{place}: {error.message}"


def _contradictions(study: Study) -> Iterator[str]:
    """Yield what the schema cannot see: references to things that are not there, and things that do not fit."""
    for name, dataset in study["datasets"].items():
        if dataset["source"] == "file" and not dataset["path"]:
            yield f"datasets.{name}: the source 'file' needs the key 'path'"
    for name, steer in study["steers"].items():
        yield from _unknown(f"steers.{name}.dataset", steer["dataset"], study["datasets"], "dataset")
        if sum(dimension != "corpus" for dimension in steer["dimensions"]) != 1:
            yield (
                f"steers.{name}.dimensions: expected one dimension for the label, and 'corpus' if you like, "
                f"found {', '.join(steer['dimensions'])}"
            )
    for name, prompts in study["prompts"].items():
        if prompts["source"] == "openings":
            yield from _unknown(f"prompts.{name}.dataset", prompts["dataset"], study["datasets"], "dataset")
        if prompts["source"] == "file" and not prompts["path"]:
            yield f"prompts.{name}: the source 'file' needs the key 'path'"
        if prompts["source"] != "file" and not prompts["count"]:
            yield f"prompts.{name}: the source '{prompts['source']}' needs the key 'count', 1 or more"
        if prompts["labels"][0] > prompts["labels"][1]:
            yield f"prompts.{name}.labels: the lowest label comes first, found {prompts['labels']}"
    for name, scorer in study["scorers"].items():
        if scorer["kind"] == "causal-lm":
            yield from _unknown(f"scorers.{name}.model", scorer["model"], study["models"], "model")
        if scorer["kind"] == "bag-of-words":
            yield from _unknown(f"scorers.{name}.held_out", scorer["held_out"], study["datasets"], "dataset")
    for name, setting in study["settings"].items():
        yield from _setting_contradictions(f"settings.{name}", setting, study)
    for name, table in study["tables"].items():
        yield from _table_contradictions(f"tables.{name}", table, study)


def _setting_contradictions(place: str, setting: Study, study: Study) -> Iterator[str]:
    yield from _unknown(f"{place}.prompts", setting["prompts"], study["prompts"], "set of prompts")
    for scorer in setting["scorers"]:
        yield from _unknown(f"{place}.scorers", scorer, study["scorers"], "scorer")
    for steer, values in setting["steer"].items():
        unknown = list(_unknown(f"{place}.steer", steer, study["steers"], "steer"))
        yield from unknown
        for dimension in [] if unknown else values:
            names = study["steers"][steer]["dimensions"]
            yield from _unknown(f"{place}.steer.{steer}", dimension, names, f"dimension of the steer '{steer}'")
    if setting["against"]:
        unknown = list(_unknown(f"{place}.against", setting["against"], study["settings"], "setting"))
        yield from unknown
        if not unknown:
            other = study["settings"][setting["against"]]
            if other["prompts"] != setting["prompts"]:
                yield (
                    f"{place}.against: '{setting['against']}' has the prompts '{other['prompts']}', this setting "
                    f"'{setting['prompts']}': differences are taken on the same prompts"
                )
            lacking = [scorer for scorer in setting["scorers"] if scorer not in other["scorers"]]
            if lacking:
                yield f"{place}.against: '{setting['against']}' lacks the scorer {_quoted(lacking)}"


def _table_contradictions(place: str, table: Study, study: Study) -> Iterator[str]:
    for label, names in table["rows"].items():
        unknown = [
            problem
            for name in names
            for problem in _unknown(f"{place}.rows.{label}", name, study["settings"], "setting")
        ]
        yield from unknown
        if not unknown:
            prompts = [study["settings"][name]["prompts"] for name in names]
            if len(set(prompts)) != len(prompts):
                yield f"{place}.rows.{label}: two settings of a row have the same prompts ({', '.join(prompts)})"


def _unknown(place: str, name: str, known: Any, what: str) -> Iterator[str]:
    if name not in known:
        listed = ", ".join(known) or "none"
        yield f"{place}: there is no {what} '{name}'{_near(name, list(known))}; there are {listed}"


def _near(name: Any, known: list[str]) -> str:
    close = difflib.get_close_matches(str(name), [str(key) for key in known], n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _with_defaults(value: Any, schema: Study) -> Any:
    """Fill in the defaults of an object that the schema has passed."""
    if not isinstance(value, dict):
        return value
    for key, part in schema.get("properties", {}).items():
        if "default" in part:
            value.setdefault(key, copy.deepcopy(part["default"]))
    others = schema.get("additionalProperties")
    for key in value:
        part = schema.get("properties", {}).get(key, others)
        if isinstance(part, dict):
            value[key] = _with_defaults(value[key], part)
    return value
