"""Write config/README.md and workflow/schemas/config.schema.json from the types of a study.

python workflow/scripts/config_readme.py          # `make docs`
"""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from lm_steer.study.analyses import Analyses
from lm_steer.study.config import Study
from lm_steer.util.options import MOST

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow/schemas/config.schema.json"
README = ROOT / "config/README.md"
TYPES = {
    "string": "text",
    "integer": "whole number",
    "array": "list",
    "object": "mapping",
    "boolean": "true, false",
}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}

HEAD = """# Config: every key of a study

A study is one file. `snakemake --cores all` runs `config/config.yaml`, the embedded study;
`--configfile other.yaml` replaces it completely, and `--configfile other.yaml more.yaml` changes keys of `other.yaml`:
keys that `more.yaml` does not name are kept, and a null (`name: null`) removes a key. If `more.yaml` gives a model,
dataset, set of prompts or scorer another `source` or `kind`, the whole block is replaced, because each kind has its own
keys. `--config key=value` changes a single key: `--config seeds=[0,1,2]`, or `--config 'sampling={samples: 10}'` for
one inside a block.

This page and `workflow/schemas/config.schema.json` (for editors) are generated from the types in `lm_steer/study/` by
`make docs`. An unknown or misspelt key is an error that suggests the closest known key.

"""


def schema() -> str:
    """Return the JSON schema of a config."""
    return json.dumps(Study.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


def document() -> str:
    """Return the page as Markdown: a section per top-level key, a row per key within it."""
    parts = [HEAD]
    for key, field in _keys(Study):
        needed = "required" if field.is_required() else f"default `{_plain(field)}`"
        parts.append(f"## {key}\n\n{field.description} ({needed})\n\n")
        if field.annotation is Analyses:
            for kind, inner in _keys(Analyses):
                (block,) = _blocks(inner.annotation)
                parts.append(f"### analyses.{kind}\n\n{inspect.getdoc(block)}\n\n")
                parts += _table(f"analyses.{kind}", inner)
        else:
            parts += _table(key, field)
    return "".join(parts).rstrip() + "\n"


def _keys(block: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Yield the keys that a config may have."""
    properties = block.model_json_schema()["properties"]
    yield from ((key, field) for key, field in block.model_fields.items() if key in properties)


def _blocks(kind: Any) -> list[type[BaseModel]]:
    """Return the block of a key, or of each of its named parts; several if a key within decides."""
    while get_origin(kind) in (Annotated, dict):
        kind = get_args(kind)[0 if get_origin(kind) is Annotated else -1]
    kinds = get_args(kind) or (kind,)
    return [one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)]


def _table(place: str, field: FieldInfo) -> Iterator[str]:
    """Yield the table of the keys within a block, or within each of its named parts."""
    blocks = _blocks(field.annotation)
    if not blocks:
        return
    shape = f"`{place}.KEY`" if field.annotation in blocks else f"`{place}.NAME.KEY`"
    yield f"Keys, as {shape}:\n\n| key | what | values | default |\n|---|---|---|---|\n"
    # A key that several blocks share has one row.
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    for block in blocks:
        # The key that decides between blocks is the one without a description.
        decides = next((key for key, one in _keys(block) if not one.description), "")
        tag = get_args(block.model_fields[decides].annotation)[0] if decides else ""
        if decides and block is blocks[0]:
            choices = "; ".join(f"`{get_args(one.model_fields[decides].annotation)[0]}`: {_doc(one)}" for one in blocks)
            yield f"| `{decides}` | {choices}. | text | required |\n"
        for key, one in _keys(block):
            if key != decides:
                default = "required" if one.is_required() else f"`{_plain(one)}`"
                rows.setdefault((key, one.description or "", _values(one), default), []).append(tag)
    for (key, what, values, default), tags in rows.items():
        some = f"For {', '.join(f'`{tag}`' for tag in tags)}: " if len(tags) < len(blocks) else ""
        yield f"| `{key}` | {some + _lower(what) if some else what} | {values} | {default} |\n"
    yield "\n"


def _doc(block: type[BaseModel]) -> str:
    return _lower((inspect.getdoc(block) or "").rstrip("."))


def _lower(text: str) -> str:
    """Return a sentence for use within another one."""
    is_name = text.split()[0] in ("RealToxicityPrompts", "JSON")
    return text if is_name else text[0].lower() + text[1:]


def _values(field: FieldInfo) -> str:
    rule = TypeAdapter(Annotated[field.annotation, *field.metadata, field]).json_schema()
    if "enum" in rule or "const" in rule:
        return ", ".join(f"`{value}`" for value in rule.get("enum") or [rule["const"]] if value)
    limits = ", ".join(f"{sign} {rule[key]}" for key, sign in BOUNDS.items() if abs(rule.get(key, MOST)) < MOST)
    kind = rule.get("type", "object")
    return " ".join(part for part in (TYPES.get(kind, kind), limits) if part)


def _plain(field: FieldInfo) -> str:
    value = field.default
    value = value.model_dump(exclude_none=True, exclude_defaults=True) if isinstance(value, BaseModel) else value
    text = yaml.safe_dump({} if value is None else value, default_flow_style=True, width=1000)
    return text.strip().removesuffix("...").strip()


if __name__ == "__main__":
    README.write_text(document(), encoding="utf-8")
    SCHEMA.write_text(schema(), encoding="utf-8")
