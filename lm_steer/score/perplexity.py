"""Perplexity of continuations given their prompts, by any causal LM.

Prompt and continuation are tokenised together, as in the original code: NLL = NLL(whole) - NLL(prompt), and tokens is
their difference in tokens. If the prompt's ids are a prefix of the whole's, that is the NLL of the remaining ids given
the prompt's, and one pass over the prompt serves all its continuations. If a token merges across the boundary, whole
and prompt are run from their first token, which itself has an NLL of 0.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import pairwise

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lm_steer.generation.memory import rows_that_fit
from lm_steer.generation.prefill import SHORT, continued_states, padded_length
from lm_steer.generation.way import pads_left, way_of
from lm_steer.model.blocks import blocks_of, one_ahead, padded_right, padded_states, round_up, run_in_parts
from lm_steer.model.chat import as_given
from lm_steer.model.head import Head, head_of
from lm_steer.model.load import LoadedModel
from lm_steer.model.probe import filled_up_to, pads_right
from lm_steer.score.store import Item, Scorer
from lm_steer.training.loss import head_cross_entropy
from lm_steer.util.messages import ChatPrompt

# Tokens per block (on a GPU including their prompts'), and the multiple to which continuations are padded.
TOKENS = {"cpu": 1024, "cuda": 32768}
STEP = 4
# Texts tokenised at once: few at first, while a GPU would wait, then four times as many each time, since a large model
# takes ten times as long to run them.
PARTS = 8192, 131072

Ids = list[int]
Pair = tuple[Ids, Ids]


def causal_lm(loaded: LoadedModel, name: str) -> Scorer:
    """Return the judge; attributes are the summed NLL in nats and the number of tokens it is summed over."""
    head = head_of(loaded.model)
    return Scorer(
        name="causal-lm",
        version=f"{name} {loaded.fingerprint}",
        attributes=("nll", "tokens"),
        text=exact_text,
        judge=lambda items: summed_nll(
            templated(loaded.tokenizer, items),
            partial(loaded.whole_ids, spare=0),
            lambda pairs: _nll(loaded, head, pairs),
        ),
    )


def exact_text(item: Item) -> str:
    """Return what is judged: the text, where its prompt ends, and whether that goes through a chat template."""
    return f"{item.prompt}\0{item.continuation}" + "\0chat" * isinstance(item.prompt, ChatPrompt)


def templated(tokenizer: PreTrainedTokenizerBase, items: Sequence[Item]) -> list[Item]:
    """Return the items with chat prompts written in the judge's own chat template."""
    distinct: list[str] = list(dict.fromkeys(item.prompt for item in items if isinstance(item.prompt, ChatPrompt)))
    prompts = dict(zip(distinct, as_given(tokenizer, distinct), strict=True))
    chats = [isinstance(item.prompt, ChatPrompt) for item in items]
    return [
        Item(prompts[item.prompt], item.continuation) if chat else item for item, chat in zip(items, chats, strict=True)
    ]


def summed_nll(
    items: Sequence[Item],
    tokenise: Callable[[list[str]], list[Ids]],
    nll_of: Callable[[list[Pair]], Iterable[tuple[int, float]]],
) -> Iterator[tuple[int, tuple[float, ...]]]:
    """Yield (item index, (summed NLL, number of tokens)) for each continuation.

    `nll_of` yields (pair index, summed NLL of the pair's second ids given its first).
    """
    starts = _starts(len(items))
    parts = [items[start:end] for start, end in pairwise([*starts, len(items)])]
    # One part is tokenised while another is run. A single part needs no thread, which would hold memory of its own.
    thread = ThreadPoolExecutor(1)
    mapped = thread.map if len(parts) > 1 else map
    try:
        for start, ids in zip(starts, mapped(lambda part: _tokenised(part, tokenise), parts), strict=True):
            for index, answer in _part_nll(*ids, nll_of):
                yield start + index, answer
    finally:
        thread.shutdown(cancel_futures=True)


def _starts(count: int) -> list[int]:
    """Return where each part of `count` texts begins."""
    starts, (size, most) = [0], PARTS
    while starts[-1] + size < count:
        starts.append(starts[-1] + size)
        size = min(4 * size, most)
    return starts


def _tokenised(items: Sequence[Item], tokenise: Callable[[list[str]], list[Ids]]) -> tuple[list[Ids], list[Ids]]:
    """Return the ids of each item's prompt, and of its prompt and continuation together."""
    # Many continuations share a prompt.
    distinct = list(dict.fromkeys(item.prompt for item in items))
    ids_of = dict(zip(distinct, tokenise(distinct), strict=True))
    return [ids_of[item.prompt] for item in items], tokenise([item.prompt + item.continuation for item in items])


def _part_nll(
    prompts: list[Ids], wholes: list[Ids], nll_of: Callable[[list[Pair]], Iterable[tuple[int, float]]]
) -> Iterator[tuple[int, tuple[float, ...]]]:
    merged = [i for i, prompt in enumerate(prompts) if prompt != wholes[i][: len(prompt)]]
    alone = dict(nll_of([(prompts[i][:1], prompts[i][1:]) for i in merged]))
    minus = {index: alone[position] for position, index in enumerate(merged)}
    # After an empty prompt the first token has no NLL: it is the context of the rest.
    counts = [1 if index in minus else max(1, len(prompt)) for index, prompt in enumerate(prompts)]
    pairs = [(whole[:count], whole[count:]) for whole, count in zip(wholes, counts, strict=True)]
    for index, nll in nll_of(pairs):
        yield index, (nll - minus.get(index, 0.0), float(len(wholes[index]) - len(prompts[index])))


@torch.no_grad()
def _nll(loaded: LoadedModel, head: Head, pairs: list[Pair]) -> Iterator[tuple[int, float]]:
    """Yield (index, summed NLL of a pair's second ids given its first ones), the longest first.

    Pairs of similar lengths form a block, of fixed shape on a CPU; each prompt in it is run once.
    """
    indices = []
    for index, (_, ids) in enumerate(pairs):
        if ids:
            indices.append(index)
        else:
            yield index, 0.0
    # Pairs with the same first ids go together, so that a block has few prompts, of few lengths.
    indices.sort(key=lambda index: (len(pairs[index][0]), pairs[index][0]))
    device = loaded.device.type
    continued, step = pads_left(loaded), STEP if pads_right(loaded) else 1
    shared = way_of(loaded) == "shared"
    context = loaded.context or sys.maxsize
    prompt_length = cache(partial(padded_length, loaded))

    def key(first: Ids, second: Ids) -> tuple[int, int]:
        # Padding must not push a text that fits out of the context.
        if not continued:
            return 0, min(round_up(len(first) + len(second), step), context)
        length = min(round_up(len(second), STEP), context - len(first))
        return min(prompt_length(len(first)), context - length), length

    def rows(key: tuple[int, int]) -> int:
        # The KV cache of a row holds its prompt too.
        if device == "cpu":
            return max(1, TOKENS[device] * SHORT // (max(SHORT, key[0]) * key[1]))
        # Twice: each prompt once, and again for each of its continuations.
        return max(1, min(TOKENS[device] // sum(key), rows_that_fit(loaded, 2 * sum(key))))

    advice = f"the perplexity of one text does not fit the memory of {loaded.device}"
    fitting: dict[tuple[int, int], int] = {}

    def blocks() -> Iterator[tuple[list[int], Tensor]]:
        keys, mixed = [key(*pairs[index]) for index in indices], device != "cpu" and (continued or step > 1)
        for (first_length, length), full, places in blocks_of(keys, rows, mixed):
            block = [pairs[indices[place]] for place in places]
            size = filled_up_to(loaded, len(block), full, length) if device == "cpu" else len(block)
            block += [block[-1]] * (size - len(block))

            def losses_of(part: slice, _: int) -> Tensor:
                return _block_nll(loaded, head, block[part], first_length, length, shared)  # noqa: B023

            size = fitting.get((first_length, length), len(block))
            losses, fitting[first_length, length] = run_in_parts(len(block), size, losses_of, advice)
            yield [indices[place] for place in places], losses

    for places, losses in one_ahead(loaded.device, blocks()):
        yield from zip(places, losses.tolist(), strict=False)


def _block_nll(
    loaded: LoadedModel, head: Head, pairs: list[Pair], first_length: int, length: int, shared: bool = False
) -> Tensor:
    """Return the summed NLL (pairs,) of the second ids given the first.

    The first are padded to `first_length` and the second to `length`, or both together to `length` if that is 0.
    """
    if first_length:
        states = continued_states(loaded, pairs, first_length, length, shared)
        ids, present = padded_right(loaded, [second for _, second in pairs], length)
    else:
        states = padded_states(loaded, [first + second for first, second in pairs], length)[:, :-1]
        ids, present = (part[:, 1:] for part in padded_right(loaded, [[*a, *b] for a, b in pairs], length))
        starts = torch.tensor([len(first) - 1 for first, _ in pairs], device=loaded.device)
        present = present * (torch.arange(length - 1, device=loaded.device) >= starts[:, None])
    losses = head_cross_entropy(head, states.flatten(0, 1), ids.flatten()).view(ids.shape)
    return losses.masked_fill(present == 0, 0).sum(1)
