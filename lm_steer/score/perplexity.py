"""Perplexity of a continuation given its prompt, by any causal LM.

Prompt and continuation are tokenised together, as in the original code: NLL = NLL(whole) - NLL(prompt), and tokens is
their difference in tokens. Where the prompt's ids begin the whole's, that is the NLL of the remaining ids given
the prompt's, and one pass over the prompt serves its continuations. Where a token merges across the boundary, whole
and prompt are run from their first token, which itself has an NLL of 0.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import Cache

from lm_steer.errors import LMSteerError
from lm_steer.hidden import blocks_of, head_inputs, round_up
from lm_steer.loss import Head, head_cross_entropy, head_of
from lm_steer.models import LoadedModel
from lm_steer.prefill import has_plain_cache, padded, padded_length, prefill
from lm_steer.score.store import Item, Scorer

# Tokens of a block, and the multiple that continuations are padded to.
TOKENS = {"cpu": 1024, "cuda": 8192}
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
    wholes = loaded.whole_ids([item.prompt + item.continuation for item in items])
    prompts = loaded.whole_ids([item.prompt for item in items])
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

    Pairs of like lengths make a block, of fixed shape on a CPU; each of its prompts is run once.
    """
    indices = []
    for index, (_, ids) in enumerate(pairs):
        if ids:
            indices.append(index)
        else:
            yield index, 0.0
    # Pairs with the same first ids stand together, so that a block has few prompts, and these of few lengths.
    indices.sort(key=lambda index: (len(pairs[index][0]), pairs[index][0]))
    device = loaded.device.type
    keys = [(padded_length(loaded, len(pairs[i][0])), round_up(len(pairs[i][1]), STEP)) for i in indices]
    for (given, length), full, places in blocks_of(keys, lambda key: max(1, TOKENS[device] // key[1])):
        block = [pairs[indices[place]] for place in places]
        filled = [*block, *[block[-1]] * (full - len(block))] if device == "cpu" else block
        losses = _block_nll(loaded, head, filled, given, length)
        yield from zip((indices[place] for place in places), losses.tolist(), strict=False)


def _block_nll(loaded: LoadedModel, head: Head, pairs: list[tuple[Ids, Ids]], given: int, length: int) -> Tensor:
    """Return the summed NLL (pairs,) of the second ids, padded to `length`, given the first, padded to `given`."""

    def run(ids: Tensor, mask: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        options = {"position_ids": positions, "past_key_values": cache, "use_cache": True}
        return head_inputs(loaded.model, ids, mask, **options)[:, -1]

    prompts = {tuple(first): None for first, _ in pairs}
    numbers = {first: number for number, first in enumerate(prompts)}
    of_pair = torch.tensor([numbers[tuple(first)] for first, _ in pairs], device=loaded.device)
    rows = [list(first) for first in prompts]
    if not has_plain_cache(loaded):
        # These run in one pass, whose shape must not depend on how many prompts there are.
        rows += [rows[-1]] * (len(pairs) - len(rows))
    last, cache = prefill(loaded, rows, given, run)
    cache.batch_select_indices(of_pair)
    ids, present = _padded(loaded, [second for _, second in pairs], length)
    mask = torch.cat([padded(loaded, rows, given)[1][of_pair], present], dim=1)
    positions = (mask.cumsum(-1) - 1)[:, given:]
    states = head_inputs(loaded.model, ids, mask, position_ids=positions, past_key_values=cache, use_cache=True)
    states = torch.cat([last[of_pair, None], states[:, :-1]], dim=1)
    losses = head_cross_entropy(head, states.flatten(0, 1), ids.flatten()).view(ids.shape)
    return (losses * present).sum(1)


def _padded(loaded: LoadedModel, rows: list[Ids], length: int) -> tuple[Tensor, Tensor]:
    """Return ids and mask, (rows, length), padded on the right."""
    padding, device = loaded.tokenizer.pad_token_id, loaded.device
    ids = torch.tensor([row + [padding] * (length - len(row)) for row in rows], device=device)
    return ids, torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], device=device)


def _check_context(loaded: LoadedModel, items: Sequence[Item], wholes: list[Ids]) -> None:
    context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    for item, ids in zip(items, wholes, strict=True):
        if context and len(ids) > context:
            raise LMSteerError(
                f"a text of {len(ids)} tokens does not fit the context of {context} of the model that scores its "
                f"perplexity: {item.prompt[:60]!r}"
            )
