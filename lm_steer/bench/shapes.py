"""Models of known shapes with random weights, which suffice to measure speed and memory.

loaded = random_model("gpt2-large", "bfloat16")
config_of("pythia-6.9b")                                     # a config of transformers
"""

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerFast

from lm_steer.model.kernels import quicken
from lm_steer.model.load import LoadedModel, dtype_of, usable_device
from lm_steer.util.errors import LMSteerError

SMOLLM2 = {"vocab_size": 49152, "max_position_embeddings": 8192, "tie_word_embeddings": True, "num_key_value_heads": 3}
# Model type, hidden size, layers, heads, and other config values.
SHAPES: dict[str, tuple[str, int, int, int, dict[str, Any]]] = {
    "gpt2": ("gpt2", 768, 12, 12, {}),
    "gpt2-medium": ("gpt2", 1024, 24, 16, {}),
    "gpt2-large": ("gpt2", 1280, 36, 20, {}),
    "gpt2-xl": ("gpt2", 1600, 48, 25, {}),
    "smollm2": ("llama", 576, 30, 9, {"intermediate_size": 1536, **SMOLLM2}),
    "pythia-70m": ("gpt_neox", 512, 6, 8, {"intermediate_size": 2048, "vocab_size": 50304}),
    "pythia-160m": ("gpt_neox", 768, 12, 12, {"intermediate_size": 3072, "vocab_size": 50304}),
    "pythia-410m": ("gpt_neox", 1024, 24, 16, {"intermediate_size": 4096, "vocab_size": 50304}),
    "pythia-1b": ("gpt_neox", 2048, 16, 8, {"intermediate_size": 8192, "vocab_size": 50304}),
    "pythia-1.4b": ("gpt_neox", 2048, 24, 16, {"intermediate_size": 8192, "vocab_size": 50304}),
    "pythia-2.8b": ("gpt_neox", 2560, 32, 32, {"intermediate_size": 10240, "vocab_size": 50304}),
    "pythia-6.9b": ("gpt_neox", 4096, 32, 32, {"intermediate_size": 16384, "vocab_size": 50432}),
    "gpt-j-6b": ("gptj", 4096, 28, 16, {}),
}


def config_of(shape: str, **changes: Any) -> PretrainedConfig:
    """Return the config of a shape, with `changes` applied; LMSteerError lists the shapes if it is unknown."""
    if shape not in SHAPES:
        raise LMSteerError(f"unknown shape '{shape}': choose {', '.join(SHAPES)}")
    kind, width, layers, heads, others = SHAPES[shape]
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    config = AutoConfig.for_model(kind, **sizes, **others)
    for key, value in changes.items():
        setattr(config, key, value)
    config.bos_token_id = config.eos_token_id = config.vocab_size - 1
    return config


def random_model(shape: str, dtype: str = "float32", device: str | None = None, **changes: Any) -> LoadedModel:
    """Return a frozen model with random weights, and a tokenizer whose tokens are the words `t0`, `t1`, …"""
    place = usable_device(device)
    config, torch_dtype = config_of(shape, **changes), dtype_of(dtype, place)
    with torch.device(place):
        model = AutoModelForCausalLM.from_config(config, dtype=torch_dtype)
    quicken(model.requires_grad_(False).eval())
    name = f"{shape}, random weights"
    return LoadedModel(model, _words(config.vocab_size), f"{name}, {torch_dtype}", name)


def _words(vocabulary: int) -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({f"t{index}": index for index in range(vocabulary)}, unk_token="t0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    last = f"t{vocabulary - 1}"
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token=last, pad_token=last)
