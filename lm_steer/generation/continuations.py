"""Sample continuations: batched, left-padded, of exactly the requested length, and individually reproducible.

    lm-steer generate --model results/models/smollm2 --seed 0 \\
        --job "out.jsonl|results/prompts/neutral.jsonl|results/steers/smollm2/sentiment/seed0 sentiment=5"

A continuation depends only on (seed, prompt, sample, step), by which its random numbers are keyed. On a CPU, blocks are
filled up to a size that does not change its bits, so that other prompts, their order and the number of jobs have no
effect on it (exactly in float32; up to kernel rounding on a GPU, where a block has as many rows as fit in free memory).
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lm_steer.core.attach import acts_by_rows
from lm_steer.generation.decoder import UNUSABLE, Decoder
from lm_steer.generation.memory import rows_that_fit
from lm_steer.generation.nucleus import Sampling, tries
from lm_steer.generation.prefill import SHORT, padded_length
from lm_steer.generation.way import pads_left, way_of
from lm_steer.model.blocks import blocks_of, one_ahead, run_in_parts
from lm_steer.model.chat import as_given, end_tokens
from lm_steer.model.head import float32_logits
from lm_steer.model.load import LoadedModel, texts_of
from lm_steer.model.probe import filled_up_to
from lm_steer.util.code_digest import code_digest
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import fingerprint, read_json, write_json
from lm_steer.util.messages import ChatPrompt
from lm_steer.util.progress import Progress, say

# Rows of a block on a CPU if its prompts have at most SHORT tokens.
ROWS = 160


def continuations(
    loaded: LoadedModel,
    prompts: Sequence[str],
    sampling: Sampling,
    what: str,
    parts: Path | None = None,
) -> list[list[str]]:
    """Return continuations, (prompts, samples), from the model in its current state: set steer values before the call.

    Finished blocks are saved in the folder `parts`, if given, and reused after an interruption.
    A `ChatPrompt` (util/messages.py) is rendered by the model's chat template, and its answer ends with its turn.
    Raises LMSteerError if a prompt and its continuation exceed the model's context or the memory, or if logits are not
    finite.
    """
    if acts_by_rows(loaded.model):
        raise LMSteerError(
            "steer values per row do not work here, because prompts are sorted: use one `with` block per value"
        )
    prompts = texts_of(prompts)
    chats = [isinstance(prompt, ChatPrompt) for prompt in prompts]
    if len({*chats}) > 1:
        # A decoder either may draw the tokens that end an answer, or not.
        by_kind = {}
        for chat in (False, True):
            alike = [prompt for prompt, is_chat in zip(prompts, chats, strict=True) if is_chat == chat]
            by_kind[chat] = iter(continuations(loaded, alike, sampling, what, parts))
        return [next(by_kind[chat]) for chat in chats]
    prompts = as_given(loaded.tokenizer, prompts)
    ends = end_tokens(loaded.tokenizer, loaded.model.generation_config)
    ids = loaded.whole_ids(prompts)
    context = loaded.context
    for prompt, row in zip(prompts, ids, strict=True):
        if not row:
            raise LMSteerError(f"the prompt {prompt!r} has no tokens: leave it out")
        if context and len(row) + sampling.new_tokens > context:
            raise LMSteerError(
                f"a prompt of {len(row)} tokens and {sampling.new_tokens} new ones do not fit in the model's context "
                f"of {context}: shorten {prompt[:60]!r}"
            )
    pads = pads_left(loaded)
    # Padding must not push a fitting prompt beyond the context.
    longest = context - sampling.new_tokens if context else math.inf
    # Sorted by length, so that blocks need little padding.
    order = sorted(range(len(ids)), key=lambda index: -len(ids[index]))
    lengths = [int(min(padded_length(loaded, len(ids[i])), longest)) if pads else len(ids[i]) for i in order]
    sampler = _Sampler(loaded, sampling, Counter(lengths), ends if any(chats) else set())
    texts: list[list[str]] = [[] for _ in prompts]
    with float32_logits(loaded.model), Progress(f"generate {what}", len(prompts), "prompt") as progress:

        def blocks() -> Iterator[tuple[tuple[list[int], Path | None], Tensor]]:
            for length, full, places in blocks_of(lengths, sampler.prompts_per_block):
                indices = [order[place] for place in places]
                block = [prompts[index] for index in indices]
                part = parts and parts / f"{fingerprint([block, [chats[index] for index in indices]])}.json"
                saved = part and _saved(part, len(block), sampling.samples)
                if saved:
                    for index, samples in zip(indices, saved, strict=True):
                        texts[index] = samples
                    progress.skip(len(block))
                else:
                    yield (indices, part), sampler.tokens([ids[index] for index in indices], _keys(block), length, full)

        for (indices, part), tokens in one_ahead(loaded.device, blocks()):
            unusable = (tokens == UNUSABLE).flatten(1).any(1).nonzero().flatten().tolist()
            if unusable:
                raise LMSteerError(
                    f"{what}: the model's logits are not finite, or too large to sample from, after the prompt "
                    f"{prompts[indices[unusable[0]]][:60]!r}: use smaller steer values, or check steer and model"
                )
            are_chats = [chats[index] for index in indices]
            block = decoded(loaded.tokenizer, [ids[index] for index in indices], tokens.tolist(), are_chats, ends)
            if part:
                write_json(part, {"texts": block, "fingerprint": fingerprint(block)})
            for index, samples in zip(indices, block, strict=True):
                texts[index] = samples
            progress.advance(len(indices))
    return texts


def _saved(part: Path, prompts: int, samples: int) -> list[list[str]] | None:
    """Return the texts of a block that an earlier run finished; None if its file is missing or damaged."""
    if not part.exists():
        return None
    try:
        block = read_json(part, {"texts": [[str]], "fingerprint": str})
        texts: list[list[str]] = block["texts"]
        if fingerprint(texts) == block["fingerprint"] and [len(row) for row in texts] == [samples] * prompts:
            return texts
    except LMSteerError:
        pass
    say(f"{part} is damaged: generating its continuations again")
    return None


def parts_folder(cache: str | Path, loaded: LoadedModel, steer: object, sampling: Sampling) -> Path:
    """Return the folder for finished blocks, named by everything that their texts depend on."""
    identity = [code_digest("generate"), loaded.fingerprint, steer, asdict(sampling)]
    return Path(cache) / "generations" / fingerprint(identity)


class _Sampler:
    """Run blocks, halved if they do not fit in memory, reusing the decoder for blocks of the same shape."""

    def __init__(self, loaded: LoadedModel, sampling: Sampling, counts: Counter[int], ends: set[int]) -> None:
        """`counts` maps each padded length to its number of prompts; `ends` are special tokens that may be drawn."""
        self.loaded, self.sampling, self.counts, self.ends = loaded, sampling, counts, ends
        self.decoder: Decoder | None = None
        self.fitting: dict[int, int] = {}

    def prompts_per_block(self, length: int) -> int:
        # Free the buffers of the previous length.
        self.decoder = None
        if self.loaded.device.type == "cpu":
            # Smaller blocks for long prompts, which are rare, since every block is filled up.
            return max(1, ROWS * SHORT**2 // max(SHORT, length) ** 2 // self.sampling.samples)
        samples, new = self.sampling.samples, self.sampling.new_tokens
        shared = way_of(self.loaded) == "shared"
        rows = rows_that_fit(self.loaded, new + (-(-length // samples) if shared else length))
        return min(self.counts[length], max(1, rows // self.sampling.samples))

    def tokens(self, ids: list[list[int]], keys: list[str], length: int, prompts: int) -> Tensor:
        """Return new tokens (len(ids), samples, new_tokens), on the device; a full block has `prompts` prompts."""
        samples = self.sampling.samples
        uniforms = torch.from_numpy(_uniforms(keys, self.sampling)).unflatten(0, (len(ids), -1))

        def block(part: slice, size: int) -> Tensor:
            try:
                return self._decoder(size, length).run(ids[part], uniforms[part].flatten(0, 1))
            except torch.OutOfMemoryError:
                self.decoder = None
                raise

        advice = (
            f"the {samples} continuations of one prompt do not fit in the memory of {self.loaded.device}: lower the "
            "number of samples, or load the model in half precision"
        )
        if self.loaded.device.type == "cpu":
            prompts = filled_up_to(self.loaded, len(ids), prompts, samples)
        size = min(prompts, self.fitting.get(length, prompts))
        tokens, self.fitting[length] = run_in_parts(len(ids), size, block, advice, samples)
        return tokens

    def _decoder(self, prompts: int, length: int) -> Decoder:
        if self.decoder is None or (self.decoder.prompts, self.decoder.length) != (prompts, length):
            self.decoder = None
            self.decoder = Decoder(self.loaded, prompts, length, self.sampling, way_of(self.loaded), self.ends)
        return self.decoder


def decoded(
    tokenizer: PreTrainedTokenizerBase,
    ids: list[list[int]],
    tokens: list[list[list[int]]],
    are_chats: Sequence[bool],
    ends: set[int],
) -> list[list[str]]:
    """Return the texts that new tokens, (prompts, samples, new_tokens), add to each prompt, with leading spaces.

    The answer to a chat prompt ends before the first token in `ends`.
    """
    rows = [
        row + (list(takewhile(lambda token: token not in ends, sample)) if is_chat else sample)
        for row, samples, is_chat in zip(ids, tokens, are_chats, strict=True)
        for sample in samples
    ]
    options: dict[str, Any] = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    starts = tokenizer.batch_decode(ids, **options)
    wholes = iter(tokenizer.batch_decode(rows, **options))
    return [[next(wholes)[len(start) :] for _ in samples] for start, samples in zip(starts, tokens, strict=True)]


def _keys(prompts: Sequence[str]) -> list[str]:
    return [hashlib.sha256(prompt.encode()).hexdigest() for prompt in prompts]


def _uniforms(keys: list[str], sampling: Sampling) -> np.ndarray:
    """Return uniforms (prompts · samples, new_tokens, tries) that depend only on (seed, prompt, sample, step)."""
    rows = []
    for key in keys:
        for sample in range(sampling.samples):
            digest = hashlib.sha256(json.dumps([sampling.seed, key, sample]).encode()).digest()
            random = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
            rows.append(random.random((sampling.new_tokens, tries(sampling.top_p))))
    return np.stack(rows)
