"""Steers of the authors' own code, read without executing anything that their files might hold.

    lm-steer import-original gpt2-large.pt --dimensions detox,corpus -o steers/detox

Such a file is a pickle of [arguments, state, step]; a transferred steer has None for its arguments. Only tensors and a
plain namespace of arguments are let out of it; any other object in it is refused by name.
In the original B is called projector1 and A projector2.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from lm_steer.core.steer import Steer, is_finite
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import reading

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
        raise LMSteerError(f"{path}: the state {', '.join(map(str, state))} is not a steer of the original code")
    weights = {ours: state[theirs] for ours, theirs in NAMES[kind].items()}
    if not all(isinstance(weight, torch.Tensor) and weight.dim() for weight in weights.values()):
        raise LMSteerError(f"{path}: {', '.join(NAMES[kind].values())} should be tensors with a row for each dimension")
    count = len(next(iter(weights.values())))
    if count != len(dimensions):
        raise LMSteerError(
            f"{path} has {count} dimensions, {len(dimensions)} were named ({', '.join(dimensions)}): the original "
            "trains the style first and the dummy (corpus) dimension second"
        )
    given = vars(arguments) if isinstance(arguments, argparse.Namespace) else {}
    epsilon = given.get("epsilon", 1e-3)
    if epsilon == 0:
        raise LMSteerError(f"{path}: its epsilon is 0, so that the steer does nothing")
    told = {key: value for key, value in given.items() if isinstance(value, str | int) or is_finite(value)}
    about = {"model": told.get("model_name", ""), "imported_from": Path(path).name, "step": step, "arguments": told}
    try:
        return Steer(dimensions, weights, kind, epsilon, about)
    except LMSteerError as error:
        raise LMSteerError(f"{path} cannot be imported: {error}") from None


def _read(path: Path) -> tuple[Any, dict[str, Any], int | None]:
    what = "a checkpoint of tensors and arguments, and was not opened"
    with reading(path, what), torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path, map_location="cpu", weights_only=True)
    if not (isinstance(content, list) and len(content) == 3 and isinstance(content[1], dict)):
        found = f"a list of {len(content)}" if isinstance(content, list) else type(content).__name__
        raise LMSteerError(f"{path}: expected [arguments, state (a dictionary), step], found {found}")
    return content[0], content[1], content[2] if isinstance(content[2], int) else None
