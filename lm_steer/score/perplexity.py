"""Perplexity of a continuation given its prompt, by any causal LM.

Prompt and continuation are tokenised together, as in the original code: NLL = NLL(whole) - NLL(prompt), and tokens is
their difference in tokens. Where the prompt's ids begin the whole's, that is the NLL of the remaining ids given
the prompt's, and one pass over the prompt serves its continuations. Where a token merges across the boundary, whole
and prompt are run from their first token, which itself has an NLL of 0.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from lm_steer.errors import LMSteerError
from lm_steer.hidden import blocks_of, head_inputs, round_up
from lm_steer.loss import Head, head_cross_entropy, head_of
from lm_steer.models import LoadedModel
from lm_steer.score.store import Item, Scorer

TOKENS_A_BLOCK = 2048
SLOTS = 5
STEP = 4

Ids = list[int]


def causal_lm(loaded: LoadedModel, name: str) -> Scorer:
    """Return the judge; attributes are the summed NLL in nats and the number of tokens it is summed over."""
    head = head_of(loaded.model)
    return Scorer(
        name="causal-lm",
        version=f"{name} {loaded.fingerprint}",
        attributes=("nll", "tokens"),
        text=lambda item: f"{item.prompt}\0{item.continuation}",
        judge=lambda items: _judge(loaded, head, items),
    )


def _judge(loaded: LoadedModel, head: Head, items: Sequence[Item]) -> Iterator[tuple[int, tuple[float, ...]]]:
    if not items:
        return
    wholes = loaded.tokenizer([item.prompt + item.continuation for item in items])["input_ids"]
    prompts = loaded.tokenizer([item.prompt for item in items])["input_ids"]
    _check_context(loaded, items, wholes)
    merged = [i for i, prompt in enumerate(prompts) if prompt != wholes[i][: len(prompt)]]
    alone = dict(_nll(loaded, head, [(prompts[i][:1], prompts[i][1:]) for i in merged]))
    minus = {index: alone[position] for position, index in enumerate(merged)}
    # An empty prompt leaves the first token without an NLL: it is what the rest is given.
    given = [1 if index in minus else max(1, len(prompt)) for index, prompt in enumerate(prompts)]
    pairs = [(whole[:count], whole[count:]) for whole, count in zip(wholes, given, strict=True)]
    for index, nll in _nll(loaded, head, pairs):
        yield index, (nll - minus.get(index, 0.0), float(len(wholes[index]) - len(prompts[index])))


@torch.no_grad()
def _nll(loaded: LoadedModel, head: Head, pairs: list[tuple[Ids, Ids]]) -> Iterator[tuple[int, float]]:
    """Yield (index, summed NLL of a pair's second ids given its first ones), the longest first.

    Up to SLOTS pairs with the same first ids make a unit, and units of like lengths a block of fixed shape.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, (given, ids) in enumerate(pairs):
        if ids:
            groups.setdefault((round_up(len(ids), STEP), *given), []).append(index)
        else:
            yield index, 0.0
    units = [group[start : start + SLOTS] for group in groups.values() for start in range(0, len(group), SLOTS)]
    keys = [(round_up(len(pairs[unit[0]][0])), round_up(len(pairs[unit[0]][1]), STEP)) for unit in units]
    for key, full, numbers in blocks_of(keys, lambda key: max(1, TOKENS_A_BLOCK // (SLOTS * key[1]))):
        chosen = [units[number] for number in numbers]
        filled = [*chosen, *[chosen[-1]] * (full - len(chosen))]
        given = [pairs[unit[0]][0] for unit in filled]
        ids = [pairs[index][1] for unit in filled for index in [*unit, *[unit[-1]] * (SLOTS - len(unit))]]
        losses = _block_nll(loaded, head, _padded(loaded, given, key[0], left=True), _padded(loaded, ids, key[1]))
        for unit, row in zip(chosen, losses.view(full, SLOTS).tolist(), strict=False):
            yield from zip(unit, row, strict=False)


def _block_nll(loaded: LoadedModel, head: Head, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Return the summed NLL (units · SLOTS,) of the second parts, each given its unit's first part."""
    (ids, mask), (targets, present) = first, second
    cache = DynamicCache(config=loaded.model.config)
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    states = head_inputs(loaded.model, ids, mask, position_ids=positions, past_key_values=cache, use_cache=True)
    last = states[:, -1:].repeat_interleave(SLOTS, 0)
    cache.batch_repeat_interleave(SLOTS)
    mask = torch.cat([mask.repeat_interleave(SLOTS, 0), present], dim=1)
    positions = (mask.cumsum(-1) - 1)[:, ids.shape[1] :]
    states = head_inputs(loaded.model, targets, mask, position_ids=positions, past_key_values=cache, use_cache=True)
    states = torch.cat([last, states[:, :-1]], dim=1)
    losses = head_cross_entropy(head, states.flatten(0, 1), targets.flatten()).view(targets.shape)
    return (losses * present).sum(1)


def _padded(loaded: LoadedModel, rows: list[Ids], length: int, left: bool = False) -> tuple[Tensor, Tensor]:
    """Return ids and mask, (rows, length)."""
    ids = torch.full((len(rows), length), loaded.tokenizer.pad_token_id)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        place = slice(length - len(row), length) if left else slice(0, len(row))
        ids[number, place] = torch.tensor(row)
        mask[number, place] = 1
    return ids.to(loaded.device), mask.to(loaded.device)


def _check_context(loaded: LoadedModel, items: Sequence[Item], wholes: list[Ids]) -> None:
    context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    for item, ids in zip(items, wholes, strict=True):
        if context and len(ids) > context:
            raise LMSteerError(
                f"a text of {len(ids)} tokens does not fit the context of {context} of the model that scores its "
                f"perplexity: {item.prompt[:60]!r}"
            )
