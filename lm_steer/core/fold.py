"""A steer folded into the head: W' = W (I + ε Σ v_k A_k B_kᵀ), so that any engine runs it at no cost.

    fold(model, steer, {"detox": 5, "corpus": 1})
    model.save_pretrained("steered")

`add` and `offset` become a bias; an architecture whose head has none (all but GPT-J of those tried) drops it when the
model is saved and loaded again, so fold those two for use in memory. The head is untied from the input embeddings,
which stay as they are.
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
    """Replace the model's head by a steered one, in place, and return it; a steer that is attached is taken off.

    Raises LMSteerError where the head is not linear, the steer or its values do not fit, and while a steer acts.
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
        raise LMSteerError(f"at these values the folded head overflows {dtype}: choose lower ones")
    detach(model)
    # A model of transformers, or of a wrapper that passes its attributes on.
    wrapped: Any = model
    # Both configs: otherwise tie_weights() or resize_token_embeddings() would silently undo it.
    wrapped.config.tie_word_embeddings = False
    wrapped.config.get_text_config().tie_word_embeddings = False
    wrapped.set_output_embeddings(folded)
    return folded


def check_linear(head: nn.Module, how: str) -> nn.Linear:
    """Return a head that is a plain linear map; LMSteerError for any other: a steer `how` (folds, …) only into one."""
    if not isinstance(head, nn.Linear) or not head.weight.is_floating_point() or head.weight.is_meta:
        kind = f"{type(head).__module__}.{type(head).__name__}"
        if isinstance(head, nn.Linear):
            kind = f"Linear of {str(head.weight.dtype).removeprefix('torch.')} on the device {head.weight.device}"
        raise LMSteerError(f"the head is a {kind}: a steer {how} only into a torch.nn.Linear that is loaded as it is")
    return head
