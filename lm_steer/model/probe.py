"""Probe how a model handles batches and padding, with a few tokens, once per loaded model.

    pads_right(loaded)      # False for the few models whose states change if padding follows

A model's name says little about the effect of padding, batches or caches, so its head inputs are compared with those of
a plain pass over each text alone. generation/way.py chooses how to sample in the same way.
"""

import os
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lm_steer.model.blocks import STEP, padded_states, round_up
from lm_steer.model.head import head_inputs, head_weight, output_head
from lm_steer.model.load import LoadedModel
from lm_steer.util.errors import LMSteerError

# Lengths of the two probe texts.
PROBED = (41, 22)
# Largest error by rounding, relative to the norm of a state.
TOLERANCE, HALF_TOLERANCE = 1e-3, 0.1
# Block sizes tried before a block is filled up completely, and outputs of the head that they are tried with.
TRIES, OUTPUTS = 8, 4096

Probed = TypeVar("Probed")


def probe(learn: Callable[[LoadedModel], Probed]) -> Callable[[LoadedModel], Probed]:
    """Decorate a function to run once per model; LMSteerError if its few tokens do not fit in memory."""

    @wraps(learn)
    @torch.no_grad()
    def once(loaded: LoadedModel) -> Probed:
        if learn not in loaded.probed:
            try:
                loaded.probed[learn] = learn(loaded)
            except torch.OutOfMemoryError:
                advice = "load the model in half precision, or on a larger device"
                raise LMSteerError(f"not even a few tokens fit in the memory of {loaded.device}: {advice}") from None
        return loaded.probed[learn]

    return once


@probe
def pads_right(loaded: LoadedModel) -> bool:
    """Whether a text's states stay the same in a batch that is padded on the right.

    Raises LMSteerError if states are not finite, depend on later tokens, or depend on the other texts of a batch.
    """
    name, (long, short) = type(loaded.model).__name__, probe_texts(loaded)
    try:
        plain, start, other = (plain_states(loaded, row) for row in (long, long[: len(short)], short))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise LMSteerError(f"{name} cannot be run on token ids alone ({reason}): give a causal LM") from error
    if not (plain.isfinite().all() and other.isfinite().all()):
        raise LMSteerError(
            f"the hidden states of {loaded.name} are not finite: its weights are damaged or too large for "
            f"{str(plain.dtype).removeprefix('torch.')}"
        )
    if not unchanged(start, plain[: len(short)]):
        raise LMSteerError(f"{name} lets tokens attend to later ones: it is not a causal LM, or not configured as one")

    def unchanged_in_batch(rows: list[list[int]], length: int) -> bool:
        states = padded_states(loaded, rows, length)
        return unchanged(states[0, : len(long)], plain) and unchanged(states[1, : len(short)], other)

    if holds(lambda: unchanged_in_batch([long, short], round_up(len(long) + 1, STEP))):
        return True
    if holds(lambda: unchanged_in_batch([long, short + long[len(short) :]], len(long))):
        return False
    raise LMSteerError(f"{name} computes other hidden states for a text in a batch than alone: it cannot be batched")


def filled_up_to(loaded: LoadedModel, need: int, full: int, tokens: int) -> int:
    """Return the number of items, of `tokens` each and at most `full`, to fill a block of `need` items up to on a CPU.

    Kernels choose their order of summation by shape. This is the smallest number whose products equal those of a full
    block bit for bit, so that an item's result does not depend on the other items.
    """
    for count in range(need, min(full, need + TRIES)):
        pair = (count * tokens, full * tokens)
        if loaded.probed.setdefault(pair, None) is None:
            loaded.probed[pair] = _same_products(loaded, *pair)
        if loaded.probed[pair]:
            return count
    return full


@torch.no_grad()
def _same_products(loaded: LoadedModel, few: int, many: int) -> bool:
    """Whether the model's matrix products of `few` rows equal, bit for bit, those of the same rows among `many`."""
    model, head = loaded.model, output_head(loaded.model)
    # Experts and convolutions do not multiply row by row.
    if any(weight.dim() > 2 for weight in model.parameters()):
        return False
    kinds = {(type(part), part.weight.shape): part for part in model.modules() if isinstance(part, nn.Linear | Conv1D)}
    products: list[tuple[int, Callable[[Tensor], Tensor]]] = [
        (part.weight.shape[isinstance(part, nn.Linear)], part.forward) for part in kinds.values() if part is not head
    ]
    # Only a part of the head, since the whole takes as long as all other products together.
    weight = head_weight(head)[:OUTPUTS]
    products.append((weight.shape[1], lambda rows: nn.functional.linear(rows, weight)))
    generator = torch.Generator().manual_seed(0)
    for width, product in products:
        rows = torch.randn(many, width, generator=generator).to(model.dtype)
        whole = product(rows)
        if not (torch.equal(product(rows[:few]), whole[:few]) and torch.equal(product(rows[-few:]), whole[-few:])):
            return False
    return True


def probe_texts(loaded: LoadedModel) -> list[list[int]]:
    """Return the ids of random texts of PROBED lengths without special tokens."""
    special = loaded.tokenizer.all_special_ids
    embeddings: Any = loaded.model.get_input_embeddings()
    size = min(len(loaded.tokenizer), embeddings.weight.shape[0])
    ordinary = [index for index in range(size) if index not in special]
    draw = torch.Generator().manual_seed(0)
    return [[ordinary[i] for i in torch.randint(len(ordinary), (count,), generator=draw)] for count in PROBED]


def plain_states(loaded: LoadedModel, row: list[int]) -> Tensor:
    """Return the head inputs (tokens, hidden) of a single text, without padding or cache."""
    ids = torch.tensor([row], device=loaded.device)
    states = head_inputs(loaded.model, ids, torch.ones_like(ids))
    if states.shape[:-1] != ids.shape:
        raise LMSteerError(f"its head gets states of shape {tuple(states.shape)} for a text of {len(row)} tokens")
    return states[0]


def unchanged(states: Tensor, plain: Tensor) -> bool:
    """Whether states (tokens, hidden) differ only by rounding; half precision may change some routing decisions."""
    errors = (states.float() - plain.float()).norm(dim=-1) / plain.float().norm(dim=-1).clamp_min(1e-12)
    if plain.dtype in (torch.bfloat16, torch.float16):
        return bool(errors.median() < HALF_TOLERANCE)
    return bool(errors.max() < TOLERANCE)


def holds(check: Callable[[], bool]) -> bool:
    """Whether a check passes without an error."""
    try:
        return check()
    except torch.OutOfMemoryError:
        raise
    # Any error means that the model cannot be run this way.
    except Exception:
        if os.environ.get("LM_STEER_TRACEBACK"):
            traceback.print_exc()
        return False
