"""A resolved study, as the workflow has written it."""

from pathlib import Path
from typing import Any

from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import fitting, parse_json

# What is read of a study that the workflow has resolved.
STUDY = {
    "title": str,
    "seeds": [int],
    "steered": [str],
    "models": {str: {"source": str, "id": str}},
    "datasets": {str: {"source": str, "path": str}},
    "steers": {str: {"dataset": str, "dimensions": [str]}},
    "prompts": {str: {"source": str, "dataset": str, "path": str, "toxic": bool}},
    "sampling": {"samples": int, "new_tokens": int, "top_p": int | float, "top_k": int},
    "scorers": {str: {"kind": str, "model": str}},
    "settings": {
        str: {
            **{"prompts": str, "scorers": [str], "steer": {str: {str: int | float}}, "sampling": dict},
            **{"against": str, "generations": str},
        }
    },
    "tables": {str: {"title": str, "rows": {str: [str]}, "scorers": [str]}},
    "agreement": {str: {"scorers": [str]}},
    "analyses": {str: {str: dict}},
}
# The parts of a study whose blocks name blocks of other parts, by which key.
REFERENCES = (
    *(("settings", "prompts", "prompts"), ("settings", "scorers", "scorers"), ("settings", "steer", "steers")),
    *(("settings", "against", "settings"), ("steers", "dataset", "datasets"), ("prompts", "dataset", "datasets")),
    *(("scorers", "model", "models"), ("tables", "scorers", "scorers"), ("agreement", "scorers", "scorers")),
)


def read_study(text: str, path: str | Path) -> dict[str, Any]:
    """Parse a resolved study that stands in `path`; LMSteerError names what is not as the workflow writes it."""
    study = fitting(parse_json(text, path), STUDY, path)
    for part, key, there in REFERENCES:
        for name, block in study[part].items():
            names = [block[key]] if isinstance(block[key], str) else block[key]
            for lacking in set(filter(None, names)) - set(study[there]):
                raise LMSteerError(f"{path}, {part}.{name}: there is no '{lacking}' under {there}")
    return study
