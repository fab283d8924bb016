"""Run prompts through a model once and return a cache for all of their continuations.

    states, cache = prefill(loaded, ids, length, run)            # (prompts, …), keys and values padded to `length`
    cache.batch_repeat_interleave(samples)

On a CPU, prompts run in small blocks of similar length, filled up so that a prompt's keys do not depend on the other
prompts, and the results are then padded on the left to one length.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from lm_steer.generation.shared import continued
from lm_steer.model.blocks import blocks_of, padded_right, round_up, sent
from lm_steer.model.head import head_inputs
from lm_steer.model.load import LoadedModel
from lm_steer.model.probe import filled_up_to

ROWS = 8
STEP = 4
# Short prompts are padded to this length on a CPU: fewer lengths mean fewer blocks to fill up.
SHORT = 32

# A function of (tokens, mask, positions, cache) that returns a result (rows, …) for each row's last token.
Run = Callable[[Tensor, Tensor, Tensor, Cache], Tensor]


@torch.no_grad()
def prefill(loaded: LoadedModel, ids: list[list[int]], length: int, run: Run) -> tuple[Tensor, Cache]:
    """Return the results of `run`, (prompts, …), and the cache of all prompts, padded on the left to `length`."""
    config = loaded.model.config
    whole = DynamicCache(config=config)
    if loaded.device.type == "cuda" or not has_plain_cache(loaded):
        return run(*padded(loaded, ids, length), whole), whole
    states: Tensor | None = None
    layers: list[list[Tensor]] = []
    keys = [min(length, round_up(len(row), STEP)) for row in ids]
    for width, full, indices in blocks_of(keys, lambda _: ROWS):
        rows = [ids[index] for index in indices]
        part: Any = DynamicCache(config=config)
        size = filled_up_to(loaded, len(rows), full, width)
        out = run(*padded(loaded, [*rows, *[rows[-1]] * (size - len(rows))], width), part)
        if states is None:
            states = out.new_empty(len(ids), *out.shape[1:])
            layers = [
                [each.new_zeros(len(ids), each.shape[1], length, each.shape[3]) for each in (layer.keys, layer.values)]
                for layer in part.layers
            ]
        states[indices] = out[: len(rows)]
        for (all_keys, all_values), layer in zip(layers, part.layers, strict=True):
            all_keys[indices, :, length - width :] = layer.keys[: len(rows)]
            all_values[indices, :, length - width :] = layer.values[: len(rows)]
    for index, (all_keys, all_values) in enumerate(layers):
        whole.update(all_keys, all_values, index)
    assert states is not None
    return states, whole


@torch.no_grad()
def continued_states(
    loaded: LoadedModel, pairs: list[tuple[list[int], list[int]]], prompt_length: int, length: int, shared: bool = False
) -> Tensor:
    """Return the head inputs (pairs, length, hidden) that predict the continuations of `pairs`, padded to `length`.

    Pairs are (prompt ids, continuation ids). Each distinct prompt is run once, padded to `prompt_length`; its cache is
    repeated for its continuations, or `shared` by them (shared.py).
    """

    def run(ids: Tensor, mask: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        options = {"position_ids": positions, loaded.cache_name: cache, "use_cache": True}
        return head_inputs(loaded.model, ids, mask, **options)[:, -1]

    prompts = {tuple(first): None for first, _ in pairs}
    numbers = {first: number for number, first in enumerate(prompts)}
    of_pair = sent(torch.tensor([numbers[tuple(first)] for first, _ in pairs]), loaded.device)
    rows = [list(first) for first in prompts]
    if not has_plain_cache(loaded):
        # One pass, whose shape must not depend on the number of distinct prompts.
        rows += [rows[-1]] * (len(pairs) - len(rows))
    last, cache = prefill(loaded, rows, prompt_length, run)
    ids, present = padded_right(loaded, [second for _, second in pairs], length)
    prompt_mask = padded(loaded, rows, prompt_length)[1]
    mask = torch.cat([prompt_mask[of_pair], present], dim=1)
    positions = (mask.cumsum(-1) - 1)[:, prompt_length:]
    if shared:
        # Attention to shared prompts ignores the mask, which only keeps the model from looking for padding.
        cache, mask = continued(cache, of_pair, prompt_length - prompt_mask.sum(1)), mask.new_zeros(1, 1, 1, 1)
    else:
        cache.batch_select_indices(of_pair)
    options = {"position_ids": positions, loaded.cache_name: cache, "use_cache": True}
    states = head_inputs(loaded.model, ids, mask, **options)
    return torch.cat([last[of_pair, None], states[:, :-1]], dim=1)


def has_plain_cache(loaded: LoadedModel) -> bool:
    """Whether every layer of the model caches the keys and values of all tokens, as a static cache does."""
    layers = DynamicCache(config=loaded.model.config).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def padded(loaded: LoadedModel, rows: list[list[int]], length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return token ids, mask and positions (rows, length), padded on the left."""
    padding, device = loaded.tokenizer.pad_token_id, loaded.device
    tokens = torch.tensor([[padding] * (length - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    mask = sent(mask, device)
    return sent(tokens, device), mask, (mask.cumsum(-1) - 1).clamp_min(0)


def padded_length(loaded: LoadedModel, length: int) -> int:
    """Return the length that a prompt of `length` tokens is padded to."""
    return round_up(length) if loaded.device.type == "cuda" else max(SHORT, 1 << (length - 1).bit_length())
