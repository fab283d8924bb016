"""Memory needed to load a model, sample from it and train on it, computed from its config.

    need = requirements(AutoConfig.from_pretrained(folder), "bfloat16")
    need.weights, need.cache_per_token, need.logits_per_row, need.training        # bytes

`lm-steer bench` prints these numbers, which also determine how many rows a GPU samples at once.
"""

from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from lm_steer.model.load import LoadedModel

# Float32 arrays of a row's logits that sampling holds at once: logits, probabilities, cumulative sums, comparisons.
FLOAT_COPIES = 6
# More rows than this do not make a GPU faster.
MOST_ROWS = 4000
USED_PART = 0.8
# Assumed if the config does not say.
MANY_LAYERS, WIDE = 64, 4096


@dataclass(frozen=True)
class Requirements:
    """Bytes needed, by purpose."""

    parameters: int
    weights: int
    cache_per_token: int
    logits_per_row: int
    training: int

    def generation(self, rows: int, tokens: int) -> int:
        """Return the bytes for sampling `rows` continuations of `tokens` tokens, including the prompt."""
        return self.weights + rows * self.row(tokens)

    def row(self, tokens: int) -> int:
        """Return the bytes for one more continuation of `tokens` tokens."""
        return tokens * self.cache_per_token + self.logits_per_row


def requirements(
    config: PretrainedConfig, dtype: str = "float32", rank: int = 1000, dimensions: int = 2, tokens: int = 32 * 256
) -> Requirements:
    """Compute the memory of a model and of training a `multiply` steer on it, with `tokens` per step.

    Training holds the weights; A and B with their gradients and Adam's two moments in float32; a step's states; and one
    body pass. The head's logits are computed in chunks (training/loss.py).
    """
    from lm_steer.model.head import CHUNK_BYTES

    size = getattr(torch, dtype).itemsize
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    vocabulary, hidden = model.get_output_embeddings().weight.shape
    steer = 4 * 4 * 2 * dimensions * hidden * rank
    text = config.get_text_config()
    # A step's states, their gradients and steered states; a body pass at its widest, in the feed-forward layer.
    wide = getattr(text, "intermediate_size", None) or getattr(text, "n_inner", None) or 4 * hidden
    states = tokens * size * (6 * hidden + 3 * wide + 2 * dimensions * rank)
    return Requirements(
        parameters=parameters,
        weights=parameters * size,
        cache_per_token=cache_per_token(config, size),
        logits_per_row=logits_per_row(vocabulary, size),
        training=parameters * size + steer + states + 3 * CHUNK_BYTES,
    )


def cache_per_token(config: PretrainedConfig, size: int) -> int:
    """Return the bytes of one token's keys and values in all layers, `size` bytes per number.

    For models without attention heads, or whose heads differ by layer, this is an estimate for full attention.
    """
    text = config.get_text_config()
    queries = _number(text, "num_attention_heads")
    heads = _number(text, "num_key_value_heads") or queries
    hidden = _number(text, "hidden_size") or WIDE
    width = heads * (_number(text, "head_dim") or hidden // queries) if queries and heads else hidden
    return 2 * (_number(text, "num_hidden_layers") or MANY_LAYERS) * width * size


def _number(config: PretrainedConfig, name: str) -> int | None:
    """Return a number from a config; None if it is missing or differs by layer."""
    try:
        value = getattr(config, name, None)
    # transformers raises its own error for values that differ by layer.
    except Exception:
        return None
    return value if isinstance(value, int) else None


def logits_per_row(vocabulary: int, size: int) -> int:
    """Return the bytes of one row's logits while sampling a token; the model has `size` bytes per number."""
    return vocabulary * (size + 4 * FLOAT_COPIES)


def rows_that_fit(loaded: LoadedModel, tokens: int) -> int:
    """Return how many continuations of `tokens` tokens, including the prompt, fit in the free memory of the GPU."""
    device, head = loaded.device, loaded.model.get_output_embeddings().weight
    row = tokens * cache_per_token(loaded.model.config, head.element_size())
    row += logits_per_row(head.shape[0], head.element_size())
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(1, min(MOST_ROWS, int(USED_PART * free) // row))
