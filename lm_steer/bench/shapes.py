"""Models of known shapes with random weights: measuring speed and memory needs no trained ones.

loaded = random_model("gpt2-large", "bfloat16")
config_of("pythia-6.9b")                                     # a config of transformers
"""

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
)

from lm_steer.model.kernels import quicken
from lm_steer.model.load import LoadedModel, dtype_of
from lm_steer.util.errors import LMSteerError


def _gpt2(width: int, layers: int, heads: int) -> PretrainedConfig:
    return GPT2Config(n_embd=width, n_layer=layers, n_head=heads)


def _pythia(width: int, layers: int, heads: int, vocabulary: int = 50304) -> PretrainedConfig:
    return GPTNeoXConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        vocab_size=vocabulary,
    )


SHAPES = {
    "gpt2": lambda: _gpt2(768, 12, 12),
    "gpt2-medium": lambda: _gpt2(1024, 24, 16),
    "gpt2-large": lambda: _gpt2(1280, 36, 20),
    "gpt2-xl": lambda: _gpt2(1600, 48, 25),
    "smollm2": lambda: LlamaConfig(
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    ),
    "pythia-70m": lambda: _pythia(512, 6, 8),
    "pythia-160m": lambda: _pythia(768, 12, 12),
    "pythia-410m": lambda: _pythia(1024, 24, 16),
    "pythia-1b": lambda: _pythia(2048, 16, 8),
    "pythia-1.4b": lambda: _pythia(2048, 24, 16),
    "pythia-2.8b": lambda: _pythia(2560, 32, 32),
    "pythia-6.9b": lambda: _pythia(4096, 32, 32, 50432),
    "gpt-j-6b": lambda: GPTJConfig(),
}


def config_of(shape: str, **changes: Any) -> PretrainedConfig:
    """Return the config of a shape, with some of its values changed; LMSteerError names the shapes there are."""
    if shape not in SHAPES:
        raise LMSteerError(f"unknown shape '{shape}': choose {', '.join(SHAPES)}")
    config = SHAPES[shape]()
    for key, value in changes.items():
        setattr(config, key, value)
    config.bos_token_id = config.eos_token_id = config.vocab_size - 1
    return config


def random_model(shape: str, dtype: str = "float32", device: str | None = None, **changes: Any) -> LoadedModel:
    """Return a frozen model with random weights, and a tokenizer whose tokens are the words `t0`, `t1`, …"""
    config, held = config_of(shape, **changes), dtype_of(dtype, device)
    with torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")):
        model = AutoModelForCausalLM.from_config(config, dtype=held)
    quicken(model.requires_grad_(False).eval())
    name = f"{shape}, random weights"
    return LoadedModel(model, _words(config.vocab_size), f"{name}, {held}", name)


def _words(vocabulary: int) -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({f"t{index}": index for index in range(vocabulary)}, unk_token="t0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    last = f"t{vocabulary - 1}"
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token=last, pad_token=last)
