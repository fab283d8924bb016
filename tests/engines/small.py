"""Small random models of several families with the embedded model's tokenizer, which converters and engines know.

folder = save_small("qwen2", tokenizer_folder, folder)          # in the hub's layout, taken in by `obtain`
"""

from pathlib import Path

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoTokenizer

from lm_steer import Steer
from lm_steer.model.obtain import obtain

# What the same size is called across the configs. vLLM's attention on a CPU wants heads of 32 at least.
SIZES = {
    "hidden_size n_embd d_model word_embed_proj_dim": 64,
    "intermediate_size ffn_dim n_inner": 96,
    "num_hidden_layers n_layer": 2,
    "num_attention_heads num_key_value_heads n_head": 2,
    "head_dim": 32,
    "max_position_embeddings n_positions": 256,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}


def save_small(family: str, tokenizer: Path, folder: Path) -> Path:
    """Write a random model whose next-token distributions are far from flat; its head is untied where it can be."""
    words = AutoTokenizer.from_pretrained(tokenizer)
    default = CONFIG_MAPPING[family]()
    sizes = {name: size for names, size in SIZES.items() for name in names.split() if hasattr(default, name)}
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    if family == "gpt2":
        sizes["n_ctx"] = 256
    tied = {} if family in ("gpt2", "bloom", "gemma", "gemma2") else {"tie_word_embeddings": False}
    kinds = {"layer_types": default.layer_types[:2]} if getattr(default, "layer_types", None) else {}
    config = CONFIG_MAPPING[family](vocab_size=len(words), **sizes, **tokens, **tied, **kinds)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
        elif "bias" in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    head = model.get_output_embeddings().weight.data
    # Parts of characters, and special tokens, are never the likeliest: engines show them otherwise than other tokens.
    for token in range(len(words)):
        if token in words.all_special_ids or "\ufffd" in words.decode([token]):
            head[token] = 0
    origin = folder.with_name(f"{folder.name}-origin")
    model.save_pretrained(origin)
    words.save_pretrained(origin)
    obtain("folder", str(origin), folder)
    return folder


def strong_steer(hidden: int) -> Steer:
    """A steer that changes most greedy texts, of any width of hidden states."""
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(2, hidden, 16, generator=generator) * 3.6 / hidden**0.5 for name in "AB"}
    return Steer(("mood", "corpus"), weights, epsilon=2e-2)
