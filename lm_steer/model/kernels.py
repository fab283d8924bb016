"""Faster kernels for parts of a model.

    quicken(model)        # leaves models without such parts unchanged

On a GPU: GPT-2's activation in one kernel instead of eight (equal to 5e-7 in float32), and the attention of new tokens
to shared prompts (generation/shared.py). On a CPU in half precision: attention of a single new token, where torch's own
takes several times as long; SmolLM2 then samples in four fifths of the time on a processor with AVX512-BF16.
transformers calls this attention in place of torch's, which still computes every other case.
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
    """Install the faster kernels in a model that is already on its device."""
    on_gpu = model.device.type == "cuda"
    if (on_gpu or model.dtype in HALF) and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)
    if on_gpu:
        use_one_kernel_gelu(model)


def use_one_kernel_gelu(model: nn.Module) -> None:
    """Replace every `gelu_new` activation of transformers by torch's GELU."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Return the attention output (rows, tokens, heads, width), with the signature that transformers expects.

    query (rows, heads, tokens, width), key and value (rows, groups, all tokens, width), attention_mask (rows, 1,
    tokens, all tokens) true where a token may attend.
    """
    unusual = any(options.get(name) is not None for name in ("softcap", "s_aux", "position_bias"))
    scaling = options.get("scaling") or query.shape[-1] ** -0.5
    if layer := getattr(key, "cache_layer", None):
        if unusual or value.shape != key.shape:
            raise NotImplementedError("only plain attention can share prompts")
        return layer().attention(query, scaling).transpose(1, 2).contiguous(), None
    plain = attention_mask is None or (attention_mask.dtype == torch.bool and attention_mask.shape[1] == 1)
    slow = query.device.type == "cpu" and query.dtype in HALF
    if slow and plain and query.shape[2] == 1 and not unusual and not module.training:
        return _one_token(query, key, value, attention_mask, scaling), None
    # On a GPU torch would choose cuDNN's kernel, which takes twice as long on short texts, and 0.3 ms on the host.
    with sdpa_kernel(BACKENDS) if query.is_cuda and attention_mask is not None else nullcontext():
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)


def _one_token(query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float) -> Tensor:
    """Compute the attention of a single token, with a group's heads as its queries, so that keys are not copied."""
    scores = query.reshape(*key.shape[:2], -1, query.shape[-1]) @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask, -torch.inf)
    weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
    return (weights @ value).view_as(query).transpose(1, 2).contiguous()


def attention_mask(*sizes: Any, **options: Any) -> Tensor | None:
    """Return transformers' mask; on a GPU always a tensor, since checking whether one is needed blocks the host."""
    if torch.device(options.get("device", "cpu")).type == "cuda":
        options["allow_is_causal_skip"] = False
    return sdpa_mask(*sizes, **options)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, attention_mask)
