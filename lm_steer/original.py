"""Steers of the authors' own code, read without executing anything that their files might hold.

    lm-steer import-original gpt2-large.pt --dimensions detox,corpus -o steers/detox

Such a file is a pickle of [arguments, state, step]. Only tensors and a plain namespace of arguments are let out of it;
any other object in it is refused by name. In the original B is called projector1 and A projector2.
"""

import argparse
import pickle
from pathlib import Path
from typing import Any

import torch

from lm_steer.errors import LMSteerError
from lm_steer.steer import Steer

NAMES = {
    "multiply": {"A": "projector2", "B": "projector1"},
    "add": {"a": "add_vec"},
    "offset": {"o": "offset_vec"},
}


def import_original(path: str | Path, dimensions: tuple[str, ...]) -> Steer:
    """Return the steer of an original checkpoint, its dimensions named in their order.

    Raises LMSteerError where the file is something else, holds code, or has another number of dimensions.
    """
    arguments, state, step = _read(Path(path))
    kind = next((kind for kind, names in NAMES.items() if set(names.values()) <= set(state)), None)
    if kind is None:
        raise LMSteerError(f"{path}: a state of {', '.join(map(str, state))} is no steer of the original code")
    weights = {ours: state[theirs].detach().float() for ours, theirs in NAMES[kind].items()}
    count = len(next(iter(weights.values())))
    if count != len(dimensions):
        raise LMSteerError(
            f"{path} has {count} dimensions, {len(dimensions)} were named ({', '.join(dimensions)}): the original "
            "trains the style first and the dummy (corpus) dimension second"
        )
    told = {key: value for key, value in vars(arguments).items() if isinstance(value, (str, int, float, bool))}
    about = {"model": told.get("model_name", ""), "imported_from": Path(path).name, "step": step, "arguments": told}
    return Steer(dimensions, weights, kind, float(told.get("epsilon", 1e-3)), about)


def _read(path: Path) -> tuple[argparse.Namespace, dict[str, Any], int]:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise LMSteerError(f"{path}: there is no such file") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise LMSteerError(
            f"{path} is not a checkpoint of tensors and arguments, and was not opened: {reason}"
        ) from None
    if not (isinstance(content, list) and len(content) == 3 and isinstance(content[1], dict)):
        raise LMSteerError(f"{path}: expected [arguments, state, step], found {type(content).__name__}")
    return content[0], content[1], content[2]
