"""Every causal LM of the installed transformers as a tiny random model, built by shrinking its default config.

model = make_family("mamba2")                  # frozen, next-token distributions far from flat
save_family("mamba2", folder)                  # with the tiny tokenizer, in the hub's layout

A type that no tiny config builds is in NOT_BUILT with the reason.
"""

from pathlib import Path
from typing import Any

import tiny
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY, HIDDEN, HEADS, CONTEXT = tiny.VOCABULARY, 32, 4, 64
# More numbers than this are no tiny model.
MOST_PARAMETERS = 3_000_000

# What the same size is called across the configs.
_NAMES: list[tuple[int, str]] = [
    (VOCABULARY, "vocab_size vocab_size_per_layer_input audio_vocab_size"),
    (CONTEXT, "max_position_embeddings n_positions max_seq_len context_length model_max_length n_ctx index_topk"),
    (HIDDEN, "hidden_size d_model n_embd dim emb_dim embedding_dim embedding_size word_embed_proj_dim"),
    (HIDDEN, "lru_width attention_hidden_size out_hidden_size adapter_in_dim adapter_out_dim"),
    (48, "intermediate_size ffn_dim n_inner dff dim_ff decoder_ffn_dim encoder_ffn_dim ffn_hidden_size"),
    (48, "moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size"),
    (48, "moe_shared_expert_intermediate_size"),
    (2, "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers depth num_blocks"),
    (HEADS, "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads"),
    (HEADS, "swa_num_attention_heads index_n_heads linear_num_value_heads"),
    (2, "linear_num_key_heads linear_num_heads num_experts_per_tok num_experts_per_token moe_topk moe_top_k moe_k"),
    (8, "head_dim v_head_dim qk_nope_head_dim qk_rope_head_dim swa_head_dim swa_v_head_dim global_head_dim"),
    (8, "index_head_dim linear_head_dim linear_key_head_dim linear_value_head_dim dim_head rotary_dim"),
    (8, "sliding_window sliding_window_size attention_window_size attention_chunk_size window_size"),
    (8, "local_attention state_size ssm_state_size mamba_d_state mamba_num_heads mamba_n_heads"),
    (8, "mamba_head_dim mamba_d_head hidden_size_per_layer_input laurel_rank"),
    (4, "num_experts num_local_experts n_routed_experts moe_num_experts mamba_dt_rank time_step_rank"),
    (4, "router_hidden_size patch_size temporal_patch_size"),
    (16, "kv_lora_rank q_lora_rank o_lora_rank image_size num_position_embeddings"),
    (8, "chunk_size mamba_chunk_size block_size"),
    (1, "n_group topk_group num_expert_group"),
]
SIZES = {name: size for size, names in _NAMES for name in names.split()}
# A list with one entry a layer: one layer of each kind is enough.
KINDS = ("layer_types", "layers_block_type", "block_types", "attn_layers")

# `...` leaves an argument out, so that the config computes it.
_HYBRID = {"layer_types": ["linear_attention", "full_attention"], "num_hidden_layers": 2}
_MIXED = {"layers_block_type": ["linear_attention", "hybrid"] * 2, "num_hidden_layers": 4, "attention_hidden_size": ...}
_INDEXED = {
    "indexer_n_heads": 4,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": CONTEXT,
    "indexer_compress_ratio": 4,
    "hc_lowrank": 8,
    "ple_embed_dim": HIDDEN,
    "ngram_vocab_size_base": 64,
    "make_ngram_vocab_size_divisible_by": 8,
    "split_ngram_parts": 1,
}
_SHARED = {
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 2,
    "intermediate_size": 48,
    "activation_sparsity_pattern": [0.95, 0.95, 0.0, 0.0],
    "final_logit_softcapping": 5.0,
}
_NOTE = {"per_layer_config": {}, "head_dim": 16}
_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
_BYTES = {"hidden_size_global": HIDDEN, "sliding_window": 16}
OVERRIDES: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "blt": {
        "encoder_hash_byte_group_vocab": 32,
        "encoder_config": _BYTES,
        "decoder_config": _BYTES,
    },
    "cohere": {"logit_scale": 0.5},
    "cohere2": {"logit_scale": 0.5},
    "cohere2_moe": {"logit_scale": 0.5},
    "cohere_compass_text": {"rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE}},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0}},
    "deepseek_v2": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "dots3_note": {
        "text_config": _NOTE,
        "audio_config": {"adapter_input_size": HIDDEN, "downsample_hidden_size": HIDDEN},
    },
    "dots3_note_text": _NOTE,
    "falcon_h1": {"mamba_d_ssm": 64, "lm_head_multiplier": 0.5},
    "gemma2": {"final_logit_softcapping": 5.0},
    "gemma3n": {"text_config": _SHARED},
    "gemma3n_text": _SHARED,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "attention_layers": ...},
    "granite": {"logits_scaling": 2.0},
    "granitemoe": {"logits_scaling": 2.0},
    "granitemoehybrid": {**_HYBRID, "logits_scaling": 2.0, "position_embedding_type": "rope"},
    "granitemoeshared": {"logits_scaling": 2.0},
    "hyperclovax": {"logits_scaling": 0.5},
    "inkling_text": {"logits_mup_width_multiplier": 2.0},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2": {"layer_types": ["conv", "full_attention"], "full_attn_idxs": ...},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "longcat_flash": {"expert_ffn_hidden_size": 48, "zero_expert_num": 2},
    "mamba2": {"num_heads": 8, "n_groups": 2},
    "minicpm3": {"dim_model_base": 16},
    "qwen4_exp": {"text_config": _INDEXED},
    "qwen4_exp_text": _INDEXED,
    "recurrent_gemma": {"logits_soft_cap": 5.0},
    "reformer": {
        "axial_pos_shape": [8, 8],
        "axial_pos_embds_dim": [16, 16],
        "attention_head_size": 8,
        "feed_forward_size": 48,
        "local_attn_chunk_length": 8,
        "lsh_attn_chunk_length": 8,
        "num_buckets": 2,
        "hash_seed": 0,
    },
    "rembert": {"output_embedding_size": HIDDEN, "input_embedding_size": HIDDEN},
    "roc_bert": {"pronunciation_vocab_size": 32, "shape_vocab_size": 32},
    "xlm": {"causal": True},
    "xlstm": {"output_logit_soft_cap": 5.0},
    "xmod": {"default_language": "en_XX"},
    "zamba": _MIXED,
    "zamba2": _MIXED,
    "zaya": {"num_experts_per_tok": 1},
}
NOT_BUILT: dict[str, str] = {
    "gemma3n": "its vision part needs another package (timm); gemma3n_text is its language model",
    "gemma4_assistant": "drafts for another model, from that model's hidden states",
    "gemma4_unified_assistant": "drafts for another model, from that model's hidden states",
    "musicgen": "draws audio codes, not text",
    "musicgen_melody": "draws audio codes, not text",
}


# The same type by another config: (type, changes).
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert-encoder": ("bert", {"is_decoder": False}),
    "mistral-full": ("mistral", {"sliding_window": None}),
}
FAMILIES = sorted({*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *VARIANTS} - set(NOT_BUILT))


def shrunk(default: PretrainedConfig) -> dict[str, Any]:
    """Return the arguments that make a config like `default`, but tiny."""
    small: dict[str, Any] = {}
    for name, value in vars(default).items():
        if isinstance(value, PretrainedConfig):
            small[name] = {**shrunk(value), **({"model_type": value.model_type} if value.model_type else {})}
        elif name in KINDS and value:
            small[name] = list(dict.fromkeys(value))
        elif name in ("num_key_value_heads", "num_kv_heads", "swa_num_key_value_heads", "kv_n_heads"):
            # Latent attention has one for each head.
            small[name] = HEADS if "kv_lora_rank" in vars(default) else 1 if value == 1 else 2
        elif name == "head_dim":
            small[name] = 8
        elif name.endswith(("_token_id", "_token_index")) and isinstance(value, int | list):
            small[name] = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}.get(name, VOCABULARY - 1)
        elif name in SIZES and isinstance(value, int) and not isinstance(value, bool):
            small[name] = SIZES[name]
        elif name in ("is_decoder", "use_cache"):
            small[name] = True
    layers = max([2, *(len(small[name]) for name in KINDS if name in small)])
    for name in KINDS:
        if name in small:
            small[name] = (small[name] * layers)[:layers]
    if "mlp_layer_types" in vars(default) and default.mlp_layer_types:
        kinds = list(dict.fromkeys(default.mlp_layer_types))
        layers = max(layers, len(kinds))
        small["mlp_layer_types"] = (kinds * layers)[:layers]
        for name in KINDS:
            if name in small:
                small[name] = (small[name] * layers)[:layers]
    for name in ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers"):
        if name in small:
            small[name] = layers
    return small


def tiny_config(family: str) -> PretrainedConfig:
    """Return the tiny config of a type."""
    name, changes = VARIANTS.get(family, (family, {}))
    kind = CONFIG_MAPPING[name]
    return kind(**_merged(_merged(shrunk(kind()), OVERRIDES.get(name, {})), changes))


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(base.get(name), dict):
            merged[name] = _merged(base[name], value)
        else:
            merged[name] = value
    return {name: value for name, value in merged.items() if value is not ...}


def make_family(family: str) -> PreTrainedModel:
    """Build a frozen random model of a type, whose next-token distributions are far from flat."""
    config = tiny_config(family)
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(config).parameters())
    assert size <= MOST_PARAMETERS, f"{size} parameters"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 or name.endswith("bias"):
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.requires_grad_(False).eval()


def save_family(family: str, folder: Path) -> None:
    """Write a type's tiny model with the tiny tokenizer."""
    model = make_family(family)
    model.save_pretrained(folder)
    # The language model of a larger one is loaded by the larger one's config.
    if model.config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        tiny_config(family).save_pretrained(folder)
    tiny.make_tokenizer().save_pretrained(folder)
