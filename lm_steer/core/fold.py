"""Fold a steer into the output head, W' = W (I + ε Σ v_k A_k B_kᵀ), so that any engine runs it at no extra cost.

    fold(model, steer, {"detox": 5, "corpus": 1})
    model.save_pretrained("steered")

`add` and `offset` become a bias. Architectures whose head has no bias (all of those tested but GPT-J) drop it when the
model is saved and reloaded, so fold these two kinds for use in memory only. The head is untied from the input
embeddings, which do not change.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lm_steer.core.attach import check_fit, detach
from lm_steer.core.steer import Steer
from lm_steer.model.head import output_head
from lm_steer.util.errors import LMSteerError


@torch.no_grad()
def fold(model: nn.Module, steer: Steer, values: Mapping[str, float]) -> nn.Linear:
    """Replace the model's head by a steered one, in place, and return it; an attached steer is removed.

    Raises LMSteerError if the head is not linear, if the steer or its values do not fit, or while a steer is active.
    """
    head = check_linear(output_head(model), "folds")
    vocabulary, hidden = head.weight.shape
    check_fit(steer, model)
    vector = steer.vector(values).to(head.weight.device)
    weight = head.weight.float()
    bias = torch.zeros(vocabulary, device=weight.device) if head.bias is None else head.bias.float()
    if steer.kind == "multiply":
        matrix = steer.matrix(values).to(weight.device)
        weight = weight + steer.epsilon * weight @ matrix
    else:
        shift = steer.epsilon * vector @ next(iter(steer.weights.values())).to(weight.device)
        bias = bias + (shift if steer.kind == "offset" else weight @ shift)
    has_bias = head.bias is not None or steer.kind != "multiply"
    folded = nn.Linear(hidden, vocabulary, bias=has_bias, dtype=head.weight.dtype, device=head.weight.device)
    folded.weight.copy_(weight)
    if has_bias:
        folded.bias.copy_(bias)
    folded.requires_grad_(False)
    if not all(parameter.isfinite().all() for parameter in folded.parameters()):
        dtype = str(folded.weight.dtype).removeprefix("torch.")
        raise LMSteerError(f"the folded head overflows {dtype} at these steer values: choose smaller ones")
    detach(model)
    # A model of transformers, or a wrapper that forwards its attributes.
    wrapped: Any = model
    # In both configs, or tie_weights() and resize_token_embeddings() would silently undo the folding.
    wrapped.config.tie_word_embeddings = False
    wrapped.config.get_text_config().tie_word_embeddings = False
    wrapped.set_output_embeddings(folded)
    return folded


def check_linear(head: nn.Module, how: str) -> nn.Linear:
    """Return `head` if it is a plain linear map, else raise LMSteerError: a steer `how` (folds, …) only into one."""
    if not isinstance(head, nn.Linear) or not head.weight.is_floating_point() or head.weight.is_meta:
        kind = f"{type(head).__module__}.{type(head).__name__}"
        if isinstance(head, nn.Linear):
            kind = f"Linear of {str(head.weight.dtype).removeprefix('torch.')} on the device {head.weight.device}"
        raise LMSteerError(
            f"the head is a {kind}: a steer {how} only into a torch.nn.Linear loaded without quantisation or offload"
        )
    return head
