"""The output head of a model in a folder, read without the rest of its weights.

head = stored_head("results/models/smollm2", steer)
"""

import re
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from lm_steer.core.attach import check_fit
from lm_steer.core.fold import check_linear
from lm_steer.core.steer import Steer
from lm_steer.model.head import Head, output_head
from lm_steer.model.load import pretrained
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import reading

# Config keys for what happens to logits after the head: a model that is not loaded cannot be probed.
CAP = re.compile(r"(?!attn|attention|mlp|router).*soft_?cap.*")
SCALE = re.compile(r"(logit|lm_head).*(scal|multipl).*")


def stored_head(folder: str | Path, steer: Steer) -> Head:
    """Return the head of the model in `folder`, with its weights as stored; LMSteerError if `steer` does not fit it.

    A scale of the logits matters only if the head has a bias, and is refused then.
    """
    config = pretrained(AutoConfig, folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    check_fit(steer, model)
    head = output_head(model)
    names = {name for name, parameter in model.named_parameters(remove_duplicate=False) if parameter is head.weight}
    weight = _stored(Path(folder), names)
    if weight is None:
        # Some types save it under a name that only loading the whole model translates.
        model = pretrained(AutoModelForCausalLM, folder, dtype="auto", use_safetensors=True)
        head = check_linear(output_head(model), "is a map of the logits")
        weight = head.weight.detach()
    elif weight.shape != head.weight.shape or not weight.is_floating_point():
        raise LMSteerError(f"{folder}: the weights of its output head are quantised: fold or attach the steer instead")
    if not weight.float().isfinite().all():
        raise LMSteerError(f"{folder}: the weights of its output head are not finite: obtain the model again")
    settings = config.get_text_config().to_dict()
    cap = next((value for key, value in settings.items() if CAP.fullmatch(key) and value), None)
    bias = getattr(head, "bias", None)
    if bias is not None and bias.is_meta:
        bias = _stored(Path(folder), {name.removesuffix("weight") + "bias" for name in names})
        if bias is None:
            raise LMSteerError(f"{folder}: the bias of its output head is in none of its safetensors files")
    if bias is not None and any(value not in (None, 1) for key, value in settings.items() if SCALE.fullmatch(key)):
        raise LMSteerError(f"{folder}: the head's bias is scaled by its config: fold or attach the steer instead")
    return Head(weight, bias if bias is None else bias.detach(), 1.0, cap)


def _stored(folder: Path, names: set[str]) -> Tensor | None:
    """Return the tensor of one of these names; a checkpoint of the body alone omits the first part of a name."""
    for path in sorted(folder.glob("*.safetensors")):
        with reading(path, "a safetensors file"), safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118
                if key in names or any(name.endswith(f".{key}") for name in names):
                    return file.get_tensor(key)
    return None
