"""Read config files so that no key is lost and no name changes its type.

    read_config("config/config.yaml")             # LMSteerError: config.yaml, line 7: the key 'steps' occurs twice
    overlaid(read_config("paper.yaml"), read_config("smaller.yaml"))

Snakemake reads them by the lax rules of YAML 1.1: the last of two equal keys counts, `no` is false, `010` is 8.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import parse_json, read_text

TAG = "tag:yaml.org,2002:"
# Octal, hexadecimal, binary, base 60, or with digits grouped.
OTHER_BASES = re.compile(r"[-+]?0[0-9xb].*|.*[:_].*")
# Values of a config, with aliases written out.
MOST_VALUES = 10**6


# The key of a section's blocks that their other keys depend on.
DECIDES = {"models": "source", "datasets": "source", "prompts": "source", "scorers": "kind"}


class _Strict(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        if (tag := getattr(self.peek_event(), "tag", None)) not in (None, "!"):
            raise _error(f"the tag {tag.replace(TAG, '!!')} is not supported: write only the value", self.peek_event())
        return super().compose_node(parent, index)

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        kind = node.tag.removeprefix(TAG)
        if kind == "timestamp" or (kind in ("int", "float") and OTHER_BASES.fullmatch(node.value)):
            read_as = "a date" if kind == "timestamp" else "a number that is not decimal"
            raise _error(f"{node.value} is read as {read_as}: write it in quotes, or as a decimal number", node)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _error("expected text as a key, found a list or a mapping", key)
            if key.tag not in (f"{TAG}str", f"{TAG}merge"):
                raise _error(f"the key {key.value!r} is not read as text: write it in quotes", key)
            if key.value in keys:
                raise _error(f"the key {key.value!r} occurs twice", key)
            keys.add(key.value)
        return node


def _error(problem: str, node: yaml.Node | yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _size(value: Any, sizes: dict[int, int]) -> int:
    """Count the values that a value holds, those of aliases each time; RecursionError for one that holds itself."""
    if id(value) not in sizes:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        sizes[id(value)] = 1 + sum(_size(one, sizes) for one in inner)
    return sizes[id(value)]


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a config file; LMSteerError names the line that is invalid, or that YAML would misread."""
    text = read_text(path)
    try:
        config = parse_json(text, path) if Path(path).suffix == ".json" else yaml.load(text, _Strict)
        # An alias may contain itself, and a few nested ones can stand for billions of values.
        if _size(config, {}) > MOST_VALUES:
            raise LMSteerError(f"{path}: its aliases stand for more than {MOST_VALUES:,} values: write fewer")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise LMSteerError(f"{path}, line {mark.line + 1}: {problem}") from None
    except RecursionError:
        raise LMSteerError(f"{path}: the brackets are nested too deeply, or an alias contains itself") from None
    except (yaml.YAMLError, ValueError) as error:
        raise LMSteerError(f"{path}: not a valid config file ({str(error).splitlines()[0]})") from None
    if not isinstance(config, dict):
        raise LMSteerError(f"{path}: expected keys of a study, found {config!r:.80}")
    return config


def overlaid(*configs: Any, path: tuple[str, ...] = ()) -> Any:
    """Return a config updated with the keys of further ones, one after another.

    A null removes a key. A block with another source or kind than before replaces the whole block.
    """
    base, *overlays = configs
    for overlay in overlays:
        if not (isinstance(base, Mapping) and isinstance(overlay, Mapping)):
            base = overlay
            continue
        decides = DECIDES.get(path[0]) if len(path) == 2 else None
        replaced = decides in base and overlay.get(decides, base[decides]) != base[decides]
        merged = {} if replaced else dict(base)
        for key, value in overlay.items():
            before = merged.get(key)
            merged[key] = overlaid(before if isinstance(before, Mapping) else {}, value, path=(*path, key))
        base = {key: value for key, value in merged.items() if value is not None or key not in overlay}
    return base
