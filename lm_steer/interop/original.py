"""Steer files of other code (the authors', EasyEdit's and EasySteer's), read without executing code in them.

    lm-steer import-original gpt2-large.pt --dimensions detox,corpus -o steers/detox
    lm-steer export-easysteer --steer steers/detox -o detox.pt

The authors and EasyEdit pickle [arguments, state, step]; a transferred steer has None for arguments. EasySteer
also reads the state alone, h + α (h P1) P2ᵀ, where a request's α takes the place of ε v. Only tensors and plain
arguments are read from a file; any other object in it is refused by name. B is called projector1 and A projector2.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from lm_steer.core.steer import Steer, is_finite
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import reading, replacing

NAMES = {
    "multiply": {"A": "projector2", "B": "projector1"},
    "add": {"a": "add_vec"},
    "offset": {"o": "offset_vec"},
}
# EasyEdit's class of arguments, which is read as a plain namespace.
EASYEDIT = "steer.vector_generators.lm_steer.generate_lm_steer_hparam.LmSteerHyperParams"


def import_original(path: str | Path, dimensions: tuple[str, ...]) -> Steer:
    """Return the steer in such a file, its dimensions named in order; for EasySteer's files, a value is the scale α.

    Raises LMSteerError if the file is something else, contains code, or has another number of dimensions.
    """
    arguments, state, step = _read(Path(path))
    kind = next((kind for kind, names in NAMES.items() if set(names.values()) <= set(state)), None)
    if kind is None:
        raise LMSteerError(
            f"{path}: expected the entries of a steer ({', '.join(NAMES['multiply'].values())}, add_vec or "
            f"offset_vec), found {', '.join(map(str, state))[:200]}"
        )
    weights = {name: state[entry] for name, entry in NAMES[kind].items()}
    if not all(isinstance(weight, torch.Tensor) and weight.dim() for weight in weights.values()):
        raise LMSteerError(f"{path}: expected {', '.join(NAMES[kind].values())} as tensors with one row per dimension")
    if kind == "multiply" and all(weight.dim() == 2 for weight in weights.values()):
        weights = {name: weight[None] for name, weight in weights.items()}
    count = len(next(iter(weights.values())))
    if count != len(dimensions):
        raise LMSteerError(
            f"{path} has {count} dimensions, but {len(dimensions)} were named ({', '.join(dimensions)}): the original "
            "trains the style first and the dummy (corpus) dimension second"
        )
    settings = vars(arguments) if isinstance(arguments, argparse.Namespace) else arguments
    settings = settings if isinstance(settings, dict) else {}
    epsilon = settings.get("epsilon", 1e-3 if step is not None else 1.0)
    settings = {key: value for key, value in settings.items() if isinstance(value, str | int) or is_finite(value)}
    model = settings.get("model_name") or settings.get("model_name_or_path", "")
    about = {"model": model, "imported_from": Path(path).name, "step": step, "arguments": settings}
    try:
        return Steer(dimensions, weights, kind, epsilon, about)
    except LMSteerError as error:
        raise LMSteerError(f"{path} cannot be imported: {error}") from None


def export_easysteer(steer: Steer, path: str | Path) -> None:
    """Write a steer of kind multiply in EasySteer's layout; its scale α is then the steer value v.

    Raises LMSteerError for the other kinds, which EasySteer does not have.
    """
    if steer.kind != "multiply":
        raise LMSteerError(f"a steer of kind {steer.kind} has no projectors, which EasySteer's lm_steer needs")
    state = {"projector1": steer.weights["B"].contiguous(), "projector2": steer.epsilon * steer.weights["A"]}
    if not state["projector2"].any() or not state["projector2"].isfinite().all():
        raise LMSteerError(f"the steer's epsilon {steer.epsilon:g} makes its weights 0, or too large for float32")
    with replacing(path) as temporary:
        torch.save(state, temporary)


def _read(path: Path) -> tuple[Any, dict[str, Any], int | None]:
    """Return arguments, state and step; a state alone has only the second."""
    known: list[Any] = [argparse.Namespace, (argparse.Namespace, EASYEDIT)]
    what = "a checkpoint of tensors and arguments, and was not opened"
    with reading(path, what), torch.serialization.safe_globals(known):
        content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, dict):
        return None, content, None
    if not (isinstance(content, list) and len(content) == 3 and isinstance(content[1], dict)):
        form = f"a list of {len(content)}" if isinstance(content, list) else type(content).__name__
        raise LMSteerError(f"{path}: expected [arguments, state (a dictionary), step] or a state, found {form}")
    return content[0], content[1], content[2] if isinstance(content[2], int) else 0
