"""Write config/README.md from the schema, so that every key is described once.

python workflow/scripts/config_readme.py          # `make docs`
"""

from pathlib import Path
from typing import Any

import yaml

from lm_steer.schema import complete
from lm_steer.util.options import MOST

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
README = ROOT / "config/README.md"

HEAD = """# Config: every key of a study

A study is one file. `snakemake --cores all` runs `config/config.yaml`, the embedded study;
`--configfile other.yaml` replaces it whole, and `--configfile other.yaml more.yaml` changes keys of `other.yaml`.
`--config key=value` changes one key of either: `--config seeds=[0,1,2]`, or
`--config 'sampling={samples: 10}'` for one inside a block.

This page is written from `workflow/schemas/config.schema.yaml` by `make docs`. The schema is closed: an unknown or
misspelt key is an error, with the nearest known one.

"""


def document(schema: dict[str, Any]) -> str:
    """Return the page as Markdown: a section a top-level key, a row a key within it."""
    schema = complete(schema)
    parts = [HEAD]
    for key, block in schema["properties"].items():
        needed = "required" if key in schema["required"] else f"default `{_plain(block['default'])}`"
        parts.append(f"## {key}\n\n{' '.join(block['description'].split())} ({needed})\n\n")
        blocks = block.get("properties", {})
        if blocks and all("additionalProperties" in inner for inner in blocks.values()):
            for name, inner in blocks.items():
                parts.append(f"### {key}.{name}\n\n{' '.join(inner['description'].split())}\n\n")
                parts += _table(f"{key}.{name}", inner)
        else:
            parts += _table(key, block)
    return "".join(parts).rstrip() + "\n"


def _table(place: str, block: dict[str, Any]) -> list[str]:
    """Return the keys within a block, or within each of its named parts."""
    inner = block if block.get("properties") else block.get("additionalProperties")
    if not isinstance(inner, dict) or not inner.get("properties"):
        return []
    shape = f"`{place}.NAME.KEY`" if inner is not block else f"`{place}.KEY`"
    required = inner.get("required", [])
    rows = [_row(name, rule, name in required) for name, rule in inner["properties"].items()]
    return [f"Keys, as {shape}:\n\n| key | what | values | default |\n|---|---|---|---|\n", *rows, "\n"]


def _row(name: str, rule: dict[str, Any], required: bool) -> str:
    default = "required" if required else f"`{_plain(rule['default'])}`"
    return f"| `{name}` | {' '.join(rule['description'].split())} | {_values(rule)} | {default} |\n"


def _values(rule: dict[str, Any]) -> str:
    if "enum" in rule:
        return ", ".join(f"`{value}`" for value in rule["enum"])
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}
    limits = ", ".join(f"{sign} {rule[key]}" for key, sign in bounds.items() if abs(rule.get(key, MOST)) < MOST)
    names = {
        "string": "text",
        "integer": "whole number",
        "array": "list",
        "object": "mapping",
        "boolean": "true, false",
    }
    return " ".join(part for part in (names.get(rule["type"], rule["type"]), limits) if part)


def _plain(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("...").strip()


if __name__ == "__main__":
    README.write_text(document(yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))), encoding="utf-8")
