"""Rotate a model's hidden space without changing its outputs, to test transfer with a known answer.

    lm-steer model --source rotated --id results/models/smollm2 -o results/models/rotated

Texts and perplexities equal those of the original model to rounding, but head and hidden states are rotated by a fixed
orthogonal matrix, and the weights of the norms are folded into the products after them. Between the two models the
inverse map of analyse/transfer.py is therefore exact, while the paper's map is not.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from lm_steer.util.errors import LMSteerError


@torch.no_grad()
def write_rotated(origin: Path, folder: Path) -> None:
    """Write a rotated copy of a model of type llama; LMSteerError for any other type."""
    from lm_steer.model.load import pretrained, whole_model

    logging.disable_progress_bar()
    model: Any = whole_model(AutoModelForCausalLM, origin, torch.float32, str(origin))
    if model.config.model_type != "llama":
        raise LMSteerError(f"{origin} is a {model.config.model_type}: only models of type llama can be rotated")
    width = model.config.hidden_size
    basis = torch.linalg.qr(
        torch.randn(width, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ).Q
    head = torch.nn.Linear(width, model.config.vocab_size, bias=False)
    head.weight.copy_(model.get_output_embeddings().weight)
    model.config.tie_word_embeddings = False
    model.set_output_embeddings(head)
    body = model.model
    _write(body.embed_tokens, body.embed_tokens.weight.double() @ basis)
    for layer in body.layers:
        attention, mlp = layer.self_attn, layer.mlp
        _read(layer.input_layernorm, [attention.q_proj, attention.k_proj, attention.v_proj], basis)
        _read(layer.post_attention_layernorm, [mlp.gate_proj, mlp.up_proj], basis)
        for part in (attention.o_proj, mlp.down_proj):
            _write(part, basis.T @ part.weight.double())
            if part.bias is not None:
                part.bias.copy_(part.bias.double() @ basis)
    _read(body.norm, [head], basis)
    model.save_pretrained(folder)
    pretrained(AutoTokenizer, origin).save_pretrained(folder)


def _read(norm: Any, parts: list[torch.nn.Linear], basis: torch.Tensor) -> None:
    """Make the products after a norm read rotated states; the root mean square is the same in every basis."""
    for part in parts:
        _write(part, part.weight.double() * norm.weight.double() @ basis)
    norm.weight.fill_(1.0)


def _write(part: torch.nn.Module, weight: torch.Tensor) -> None:
    part.weight = torch.nn.Parameter(weight.float().contiguous(), requires_grad=False)
