"""The two files of a steer: steer.safetensors with its weights, and steer_config.json, which describes them.

config, tensors = read_steer(located("owner/name", "main"))
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from lm_steer.fetch.hub import hub_file
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import fitting, parse_json, read_json, replacing
from lm_steer.util.formats import read_tensors
from lm_steer.util.outputs import STEER, writable

FORMAT = 1
FILES = ("steer.safetensors", "steer_config.json")


def write_steer(folder: str | Path, config: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """Write both files or neither; LMSteerError if JSON cannot represent the config, or the folder is not a steer's."""
    writable(folder, STEER)
    try:
        text = json.dumps({"format": FORMAT, **config}, indent=2) + "\n"
        parse_json(text, FILES[1])
    except (TypeError, ValueError, RecursionError, LMSteerError) as error:
        raise LMSteerError(f"JSON cannot represent the provenance (about) of the steer: {error}") from None
    tensors = {name: weight.cpu().clone(memory_format=torch.contiguous_format) for name, weight in weights.items()}
    with replacing(Path(folder) / FILES[1]) as config_file, replacing(Path(folder) / FILES[0]) as weights_file:
        config_file.write_text(text, encoding="utf-8")
        save_file(tensors, weights_file)


def read_steer(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return config and tensors; LMSteerError if they are missing, newer than this version, or damaged."""
    config = read_json(folder / FILES[1], {"format": int})
    if config["format"] != FORMAT:
        raise LMSteerError(
            f"{folder}: expected a steer of format {FORMAT}, found format {config['format']}: update lm-steer"
        )
    fitting(config, {"kind": str, "dimensions": [str], "epsilon": int | float}, folder / FILES[1])
    return config, read_tensors(folder / FILES[0])[0]


def located(folder: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a steer's files; owner/name, unless it is a local folder, is downloaded from the hub."""
    if isinstance(folder, str | Path) and os.path.isdir(folder) and str(folder):
        if revision:
            raise LMSteerError(f"{folder} is a local folder, without revisions: leave out {str(revision)[:80]!r}")
        return Path(folder)
    if isinstance(folder, str) and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", folder) and not os.path.exists(folder):
        by_hand = "or give the folder of a steer"
        return [hub_file(folder, file, revision or "main", by_hand, "model") for file in FILES][-1].parent
    raise LMSteerError(f"{str(folder)[:200]!r} is not a steer: give a steer's folder, or owner/name on the hub")
