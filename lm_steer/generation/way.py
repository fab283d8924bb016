"""Choose how to sample from a model, so that batch, padding and cache do not change its continuations.

    way_of(loaded)          # "static"

A probe decides, not the model's name: two prompts are continued, and their head inputs are compared with those of a
plain pass over each text alone (model/probe.py). A model that every way would change is refused.

way       prompts                              cache
shared    padded on the left, side by side     keys and values, a prompt's shared by all of its samples; on a GPU
static    padded on the left, side by side     keys and values, in a static cache
growing   padded on the left, side by side     keys and values, in transformers' own cache
own       of one length, side by side          the cache or state that the model returns
whole     of one length, side by side          none: each step runs the whole text
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from lm_steer.generation.decoder import Decoder
from lm_steer.generation.nucleus import Sampling, has_triton
from lm_steer.generation.prefill import continued_states, has_plain_cache
from lm_steer.model.head import output_head
from lm_steer.model.load import LoadedModel
from lm_steer.model.probe import holds, pads_right, plain_states, probe, probe_texts, unchanged
from lm_steer.util.errors import LMSteerError

PADDED = ("shared", "static", "growing")
PROMPT, LENGTH = 8, 48
SAMPLING = Sampling(samples=2, new_tokens=4, top_p=1.0)
# Static caches are probed beyond local attention windows of at most this many tokens.
WIDEST_WINDOW = 1024


@probe
def way_of(loaded: LoadedModel) -> str:
    """Return the fastest way that equals plain passes; LMSteerError if there is none."""
    # Raises LMSteerError for models that cannot be batched.
    pads_right(loaded)
    shares = has_plain_cache(loaded) and has_triton(loaded.device) and holds(partial(_continues, loaded, shared=True))
    ways = {"shared": shares, "static": has_plain_cache(loaded)}
    padded = [way for way in PADDED if ways.get(way, True)] if holds(lambda: _continues(loaded)) else []
    for way in (*padded, "own", "whole"):
        if holds(partial(_samples, loaded, way)):
            return way
    name = type(loaded.model).__name__
    raise LMSteerError(
        f"{name} computes other hidden states token by token than in one pass: it cannot be sampled from"
    )


def pads_left(loaded: LoadedModel) -> bool:
    """Whether the model batches prompts of different lengths, and their cache serves several continuations."""
    return way_of(loaded) in PADDED


def _continues(loaded: LoadedModel, shared: bool = False) -> bool:
    """Whether prompts padded on the left, whose cache serves several continuations, equal plain passes."""
    long, short = probe_texts(loaded)
    pairs = [(row[:cut], row[cut:]) for row, cut in ((long, 4), (short, 2), (long, 7))]
    states = continued_states(loaded, pairs, PROMPT, len(long), shared)
    return all(
        unchanged(part[: len(second)], plain_states(loaded, first + second)[len(first) - 1 : -1])
        for part, (first, second) in zip(states, pairs, strict=True)
    )


def _samples(loaded: LoadedModel, way: str) -> bool:
    """Whether two samples of each prompt, token by token, equal plain passes; `_continues` checks padded prompts."""
    long, short = probe_texts(loaded)
    prompts = [long, short] if way in PADDED else [long, short + long[len(short) :]]
    length = max(LENGTH, *_windows(loaded)) if way == "static" else LENGTH
    decoder = Decoder(loaded, len(prompts), length, SAMPLING, way=way)
    # Without a CUDA graph, which the decoder checks itself.
    decoder.tried = True
    states_by_step: list[Tensor] = []
    # Before any steer's hook, so that the states are those of the plain model.
    hook = output_head(loaded.model).register_forward_pre_hook(
        lambda _, inputs: states_by_step.append(inputs[0][:, -1].clone()), prepend=True
    )
    try:
        decoder.run(prompts, torch.linspace(0.05, 0.95, decoder.uniforms.numel()).view_as(decoder.uniforms))
    finally:
        hook.remove()
    steps = torch.stack(states_by_step[1 - SAMPLING.new_tokens :], dim=1)
    rows = [row for row in prompts for _ in range(SAMPLING.samples)]
    return all(
        unchanged(states, plain_states(loaded, row + new[:-1])[len(row) :])
        for states, row, new in zip(steps, rows, decoder.output.tolist(), strict=True)
    )


def _windows(loaded: LoadedModel) -> Iterator[int]:
    """Yield a length beyond each local attention window of the config, as far as the context allows."""
    room = (loaded.context or WIDEST_WINDOW) - SAMPLING.new_tokens
    for name, value in loaded.model.config.get_text_config().to_dict().items():
        if "window" in name and isinstance(value, int) and value <= WIDEST_WINDOW:
            yield min(value + SAMPLING.new_tokens, room)
    yield 0
