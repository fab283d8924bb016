"""KV cache in which all samples of a prompt share its keys and values, and each stores only those of its new tokens.

    cache = SharedCache(config, new_tokens=20)
    cache.start(prompts, samples=25, begins=begins)              # prompts: their cache, padded on the left
    model(tokens, past_key_values=cache, position_ids=positions) # one new token per row

    cache = continued(prompts, of_row, begins)                   # of_row: the prompt of each row
    model(ids, past_key_values=cache, position_ids=positions)    # all new tokens of every row, in one pass

It requires the attention of model/kernels.py. On a GPU one kernel reads a prompt's keys for all of its samples, and
only the new tokens that exist: in a layer of GPT2-Large, with 4,000 rows of 16 and 20 tokens in half precision, it
takes 0.11 ms on an H200, while torch's attention over a copy per row takes 1.0 ms.
"""

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer, StaticLayer


class SharedLayer(StaticLayer):
    """One layer: a static cache of `keys` and `values` (rows, groups, new tokens, width), and those of the prompts."""

    keys: Tensor
    values: Tensor

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate the buffers; the keys refer to this layer, by which the attention finds it."""
        super().lazy_initialization(key_states, value_states)
        # A weak reference: a cycle would keep the memory until garbage collection.
        self.keys.cache_layer = weakref.ref(self)  # type: ignore[attr-defined]

    def start(self, keys: Tensor, values: Tensor, samples: int, begins: Tensor) -> None:
        """Store the prompts' keys and values (prompts, groups, length, width), and start without new tokens."""
        if not self.is_initialized:
            shape = (len(keys) * samples, keys.shape[1], 1)
            self.lazy_initialization(keys.new_empty(*shape, keys.shape[3]), values.new_empty(*shape, values.shape[3]))
            self.prompt_keys, self.prompt_values = torch.empty_like(keys), torch.empty_like(values)
            self.begins = begins
        # In place: a CUDA graph reads these addresses.
        self.prompt_keys.copy_(keys)
        self.prompt_values.copy_(values)
        self.cumulative_length.zero_()

    def attention(self, query: Tensor, scaling: float) -> Tensor:
        """Return the attention output for query (rows, heads, 1, width), in the same shape."""
        if query.is_cuda:
            from lm_steer.generation.triton_kernels import shared_attention

            parts = self.prompt_keys, self.prompt_values, self.keys, self.values
            return shared_attention(query, *parts, self.begins, self.cumulative_length, scaling)
        samples, length = len(query) // len(self.prompt_keys), self.prompt_keys.shape[2]
        keys = torch.cat([self.prompt_keys.repeat_interleave(samples, 0), self.keys], 2)
        values = torch.cat([self.prompt_values.repeat_interleave(samples, 0), self.values], 2)
        columns, begins = torch.arange(keys.shape[2]), self.begins.repeat_interleave(samples)[:, None]
        visible = (columns >= begins) & (columns < length + self.cumulative_length)
        return nn.functional.scaled_dot_product_attention(
            query, keys, values, visible[:, None, None], scale=scaling, enable_gqa=True
        )


class SharedCache(Cache):
    """A cache with one SharedLayer per layer of the model."""

    def __init__(self, config: PretrainedConfig, new_tokens: int) -> None:
        super().__init__(layers=[SharedLayer(new_tokens) for _ in DynamicCache(config=config).layers])

    def start(self, prompts: Any, samples: int, begins: Tensor) -> None:
        """Start the samples of prompts that are padded on the left, with first tokens at `begins` (prompts,)."""
        layers: list[Any] = self.layers
        for layer, prompt in zip(layers, prompts.layers, strict=True):
            layer.start(prompt.keys, prompt.values, samples, begins)


class ContinuedLayer(DynamicLayer):
    """One layer of a single pass over continuations: the keys and values of the prompts and of the pass."""

    keys: Tensor
    values: Tensor

    def __init__(self, keys: Tensor, values: Tensor, prompts: Tensor, begins: Tensor) -> None:
        """Store the prompts' keys and values (prompts, groups, length, width), and each row's prompt (rows,)."""
        super().__init__()
        self.prompt_keys, self.prompt_values, self.prompts, self.begins = keys, values, prompts, begins

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Store the keys and values of the pass, (rows, groups, tokens, width), and return them unchanged."""
        self.keys, self.values = key_states, value_states
        key_states.cache_layer = weakref.ref(self)  # type: ignore[attr-defined]
        return key_states, value_states

    def attention(self, query: Tensor, scaling: float) -> Tensor:
        """Return the attention output for query (rows, heads, tokens, width), in the same shape."""
        if query.is_cuda:
            from lm_steer.generation.triton_kernels import continued_attention

            parts = self.prompt_keys, self.prompt_values, self.keys, self.values
            return continued_attention(query, *parts, self.prompts, self.begins, scaling)
        length, tokens = self.prompt_keys.shape[2], query.shape[2]
        keys = torch.cat([self.prompt_keys[self.prompts], self.keys], 2)
        values = torch.cat([self.prompt_values[self.prompts], self.values], 2)
        columns, begins = torch.arange(length + tokens), self.begins[self.prompts]
        visible = (columns >= begins[:, None, None]) & (columns <= length + torch.arange(tokens)[:, None])
        return nn.functional.scaled_dot_product_attention(
            query, keys, values, visible[:, None], scale=scaling, enable_gqa=True
        )


def continued(prompts: Any, of_row: Tensor, begins: Tensor) -> Cache:
    """Return a cache for one pass over continuations, from the prompts' cache and each row's prompt (rows,)."""
    return Cache(layers=[ContinuedLayer(layer.keys, layer.values, of_row, begins) for layer in prompts.layers])
