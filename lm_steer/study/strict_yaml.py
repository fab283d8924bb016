"""Config files, read so that no key is lost and no name changes its type.

    checked_file("config/config.yaml")            # LMSteerError: config.yaml, line 7: the key 'steps' stands twice

Snakemake reads them by the lax rules of YAML 1.1: the last of two equal keys counts, `no` is false, `010` is 8.
"""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import parse_json, read_text

TAG = "tag:yaml.org,2002:"
# Octal, or to the base of 60.
OTHER_BASES = re.compile(r"[-+]?0[0-9_]+|.*:.*")


class _Strict(yaml.SafeLoader):
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
                raise _error(f"the key {key.value!r} stands twice", key)
            keys.add(key.value)
        return node


def _error(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def checked_file(path: str | Path) -> None:
    """Raise LMSteerError, with the line, where a config file is not valid or would be read otherwise than it looks."""
    text = read_text(path)
    try:
        if Path(path).suffix == ".json":
            parse_json(text, path)
        else:
            # What an alias puts into itself has no end.
            json.dumps(yaml.load(text, _Strict), default=str)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = " ".join(filter(None, (error.context, error.problem)))
        raise LMSteerError(f"{path}, line {mark.line + 1}: {told}") from None
    except RecursionError:
        raise LMSteerError(f"{path}: the brackets are nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise LMSteerError(f"{path}: not a valid config file ({str(error).splitlines()[0]})") from None
