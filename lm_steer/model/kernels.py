"""Parts of a model that one kernel computes faster than transformers' several.

    quicken(model)        # does nothing where it does not apply

On a GPU, GPT-2's activation in one kernel for eight, equal to 5e-7 in float32, and the attention of new tokens to
prompts that are shared (generation/shared.py). On a CPU in half precision, attention of a single new token, where
torch's own takes several times as long; with it SmolLM2 samples in four fifths of the time on a processor with
AVX512-BF16. transformers calls this attention as it calls torch's, to which all else goes on.
"""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, PreTrainedModel
from transformers.activations import NewGELUActivation
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "lm_steer"
HALF = (torch.bfloat16, torch.float16)
BACKENDS = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def quicken(model: PreTrainedModel) -> None:
    """Put the faster parts into a model that is on its device."""
    on_gpu = model.device.type == "cuda"
    if (on_gpu or model.dtype in HALF) and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)
    if on_gpu:
        use_one_kernel_gelu(model)


def use_one_kernel_gelu(model: nn.Module) -> None:
    """Replace every activation of transformers' `gelu_new` by torch's own."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Return what the heads make of the values, (rows, tokens, heads, width), as transformers calls it.

    query (rows, heads, tokens, width), key and value (rows, groups, all tokens, width), attention_mask (rows, 1,
    tokens, all tokens) true where a token is seen.
    """
    unusual = any(options.get(name) is not None for name in ("softcap", "s_aux", "position_bias"))
    scaling = options.get("scaling") or query.shape[-1] ** -0.5
    if layer := getattr(key, "cache_layer", None):
        if unusual or value.shape != key.shape:
            raise NotImplementedError("prompts are shared by plain attention alone")
        return layer().attention(query, scaling).transpose(1, 2).contiguous(), None
    plain = attention_mask is None or (attention_mask.dtype == torch.bool and attention_mask.shape[1] == 1)
    slow = query.device.type == "cpu" and query.dtype in HALF
    if slow and plain and query.shape[2] == 1 and not unusual and not module.training:
        return _one_token(query, key, value, attention_mask, scaling), None
    # On a GPU torch would take cuDNN's kernel, which on short texts takes twice as long, and .3 ms of the host.
    with sdpa_kernel(BACKENDS) if query.is_cuda and attention_mask is not None else nullcontext():
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)


def _one_token(query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float) -> Tensor:
    """The same for a single token: the heads of a group stand in the place of its queries, and keys are not copied."""
    scores = query.reshape(*key.shape[:2], -1, query.shape[-1]) @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask, -torch.inf)
    weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
    return (weights @ value).view_as(query).transpose(1, 2).contiguous()


def attention_mask(*sizes: Any, **options: Any) -> Tensor | None:
    """Return the mask of transformers; on a GPU always a tensor, since finding out that none is needed costs a wait."""
    if torch.device(options.get("device", "cpu")).type == "cuda":
        options["allow_is_causal_skip"] = False
    return sdpa_mask(*sizes, **options)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, attention_mask)
