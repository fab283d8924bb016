"""Perplexity of a continuation given its prompt, by any causal LM.

Prompt and continuation are tokenised together: NLL = NLL(whole) - NLL(prompt), tokens = their difference in tokens
(protocol of the original code). Where the prompt's ids begin the whole's, that is the NLL of the remaining ids, and
one pass over the whole gives it; where a token merges across the boundary, the prompt is run by itself as well.
"""

from collections.abc import Iterator, Sequence

import torch

from lm_steer.hidden import blocks_of, head_inputs, round_up
from lm_steer.loss import Head, head_cross_entropy, head_of
from lm_steer.models import LoadedModel
from lm_steer.score.store import Item, Scorer

TOKENS_A_BLOCK = 2048


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
    merged = [i for i, prompt in enumerate(prompts) if prompt != wholes[i][: len(prompt)]]
    alone = dict(_nll(loaded, head, [prompts[i] for i in merged], [1] * len(merged)))
    minus = {index: alone[position] for position, index in enumerate(merged)}
    starts = [1 if index in minus else len(prompt) for index, prompt in enumerate(prompts)]
    for index, nll in _nll(loaded, head, wholes, starts):
        yield index, (nll - minus.get(index, 0.0), float(len(wholes[index]) - len(prompts[index])))


@torch.no_grad()
def _nll(loaded: LoadedModel, head: Head, rows: list[list[int]], starts: list[int]) -> Iterator[tuple[int, float]]:
    """Yield (index, summed NLL of a row's ids from `start` on, given those before), the longest rows first.

    Only the positions that count pass through the head. The first id of a row has an NLL of 0.
    """
    padding, device = loaded.tokenizer.pad_token_id, loaded.device
    lengths = [len(row) for row in rows]
    for length, full, indices in blocks_of(lengths, round_up, lambda size: max(1, TOKENS_A_BLOCK // size)):
        block = [rows[index] for index in indices] + [[padding]] * (full - len(indices))
        ids = torch.tensor([row + [padding] * (length - len(row)) for row in block], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in block], device=device)
        states = head_inputs(loaded.model, ids, mask)
        for index, row, state in zip(indices, ids, states, strict=False):
            first, last = max(starts[index], 1), lengths[index]
            if last <= first:
                yield index, 0.0
            else:
                yield (
                    index,
                    head_cross_entropy(head, state[first - 1 : last - 1], row[first:last]).sum().item(),
                )
