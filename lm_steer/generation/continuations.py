"""Sample continuations: batched, left-padded, of exactly the requested length, each one reproducible by itself.

    lm-steer generate --model results/models/smollm2 --seed 0 \\
        --job "out.jsonl|results/prompts/neutral.jsonl|results/steers/smollm2/sentiment/seed0 sentiment=5"

A continuation depends on (seed, prompt, sample, step) alone: its random numbers are keyed by them, and on a CPU it is
computed in a block that is filled up to a size which leaves its bits alone, so that neither the other prompts nor their
order nor the number of jobs shows in it (exactly in float32; up to kernel rounding on a GPU, where a block has as many
rows as fit the free memory).
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

# On a CPU, rows of a block whose prompts are of SHORT tokens or fewer.
ROWS = 160


def continuations(
    loaded: LoadedModel,
    prompts: Sequence[str],
    sampling: Sampling,
    what: str,
    parts: Path | None = None,
) -> list[list[str]]:
    """Return continuations, (prompts, samples), from the model as it stands (set a steer's values around the call).

    With `parts`, a folder, each finished block is kept there and found again after a kill.
    A `ChatPrompt` (util/messages.py) goes through the model's chat template, and its answer ends with its turn.
    Raises LMSteerError where a prompt and its continuation exceed the model's context, or the memory, and where logits
    are not finite.
    """
    if acts_by_rows(loaded.model):
        raise LMSteerError("steer values per row do not follow prompts, which are sorted: use a `with` for each")
    prompts = texts_of(prompts)
    chats = [isinstance(prompt, ChatPrompt) for prompt in prompts]
    prompts = as_given(loaded.tokenizer, prompts)
    ends = end_tokens(loaded.tokenizer, loaded.model.generation_config)
    ids = loaded.whole_ids(prompts)
    context = loaded.context
    for prompt, row in zip(prompts, ids, strict=True):
        if not row:
            raise LMSteerError(f"the prompt {prompt!r} has no tokens: leave it out")
        if context and len(row) + sampling.new_tokens > context:
            raise LMSteerError(
                f"a prompt of {len(row)} tokens and {sampling.new_tokens} more do not fit the model's context of "
                f"{context}: {prompt[:60]!r}"
            )
    pads = pads_left(loaded)
    # Padding must not push a prompt that fits out of the context.
    longest = context - sampling.new_tokens if context else math.inf
    # Prompts of like lengths stand together, so that a block has little padding.
    order = sorted(range(len(ids)), key=lambda index: -len(ids[index]))
    lengths = [int(min(padded_length(loaded, len(ids[i])), longest)) if pads else len(ids[i]) for i in order]
    sampler = _Sampler(loaded, sampling, Counter(lengths))
    texts: list[list[str]] = [[] for _ in prompts]
    with float32_logits(loaded.model), Progress(f"generate {what}", len(prompts), "prompt") as progress:

        def blocks() -> Iterator[tuple[tuple[list[int], Path | None], Tensor]]:
            for length, full, places in blocks_of(lengths, sampler.prompts_per_block):
                indices = [order[place] for place in places]
                block = [prompts[index] for index in indices]
                part = parts and parts / f"{fingerprint([block, [chats[index] for index in indices]])}.json"
                kept = part and _kept(part, len(block), sampling.samples)
                if kept:
                    for index, samples in zip(indices, kept, strict=True):
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
            answered = [chats[index] for index in indices]
            made = decoded(loaded.tokenizer, [ids[index] for index in indices], tokens.tolist(), answered, ends)
            if part:
                write_json(part, {"texts": made, "fingerprint": fingerprint(made)})
            for index, samples in zip(indices, made, strict=True):
                texts[index] = samples
            progress.advance(len(indices))
    return texts


def _kept(part: Path, prompts: int, samples: int) -> list[list[str]] | None:
    """Return a block that an earlier run has finished; None where it does not exist or is damaged."""
    if not part.exists():
        return None
    try:
        kept = read_json(part, {"texts": [[str]], "fingerprint": str})
        texts: list[list[str]] = kept["texts"]
        if fingerprint(texts) == kept["fingerprint"] and _sizes(texts) == [samples] * prompts:
            return texts
    except LMSteerError:
        pass
    say(f"{part} is damaged: its continuations are made again")
    return None


def _sizes(rows: list[list[str]]) -> list[int]:
    return [len(row) for row in rows]


def parts_folder(cache: str | Path, loaded: LoadedModel, steer: object, sampling: Sampling) -> Path:
    """Return the folder for finished blocks, named by all that their texts depend on."""
    identity = [code_digest("generate"), loaded.fingerprint, steer, asdict(sampling)]
    return Path(cache) / "generations" / fingerprint(identity)


class _Sampler:
    """Runs blocks, in halves where one does not fit the memory; keeps the decoder for blocks of the same shape."""

    def __init__(self, loaded: LoadedModel, sampling: Sampling, counts: Counter[int]) -> None:
        """`counts` are the numbers of prompts by padded length."""
        self.loaded, self.sampling, self.counts = loaded, sampling, counts
        self.decoder: Decoder | None = None
        self.fitting: dict[int, int] = {}

    def prompts_per_block(self, length: int) -> int:
        # The last length's buffers are not in the way of this one's.
        self.decoder = None
        if self.loaded.device.type == "cpu":
            # Long prompts are rare, and each block of them is filled up: it has fewer rows.
            return max(1, ROWS * SHORT**2 // max(SHORT, length) ** 2 // self.sampling.samples)
        samples, new = self.sampling.samples, self.sampling.new_tokens
        shared = way_of(self.loaded) == "shared"
        rows = rows_that_fit(self.loaded, new + (-(-length // samples) if shared else length))
        return min(self.counts[length], max(1, rows // self.sampling.samples))

    def tokens(self, ids: list[list[int]], keys: list[str], length: int, prompts: int) -> Tensor:
        """Return new tokens (len(ids), samples, new_tokens), on the device; `prompts` make a full block."""
        samples = self.sampling.samples
        uniforms = torch.from_numpy(_uniforms(keys, self.sampling)).unflatten(0, (len(ids), -1))

        def block(part: slice, size: int) -> Tensor:
            try:
                return self._decoder(size, length).run(ids[part], uniforms[part].flatten(0, 1))
            except torch.OutOfMemoryError:
                self.decoder = None
                raise

        advice = (
            f"the {samples} continuations of one prompt do not fit the memory of {self.loaded.device}: lower the "
            "number of samples, or load the model in half precision"
        )
        if self.loaded.device.type == "cpu":
            prompts = filled_up_to(self.loaded, len(ids), prompts, samples)
        size = min(prompts, self.fitting.get(length, prompts))
        made, self.fitting[length] = run_in_parts(len(ids), size, block, advice, samples)
        return made

    def _decoder(self, prompts: int, length: int) -> Decoder:
        if self.decoder is None or (self.decoder.prompts, self.decoder.length) != (prompts, length):
            self.decoder = None
            self.decoder = Decoder(self.loaded, prompts, length, self.sampling, way_of(self.loaded))
        return self.decoder


def decoded(
    tokenizer: PreTrainedTokenizerBase,
    ids: list[list[int]],
    tokens: list[list[list[int]]],
    answered: Sequence[bool],
    ends: set[int],
) -> list[list[str]]:
    """Return the text that new tokens, (prompts, samples), add to each prompt, its leading space kept.

    What is added to a prompt that is `answered` ends before the first of the tokens `ends`.
    """
    rows = [
        row + (list(takewhile(lambda token: token not in ends, sample)) if cut else sample)
        for row, samples, cut in zip(ids, tokens, answered, strict=True)
        for sample in samples
    ]
    options: dict[str, Any] = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    starts = tokenizer.batch_decode(ids, **options)
    wholes = iter(tokenizer.batch_decode(rows, **options))
    return [[next(wholes)[len(start) :] for _ in samples] for start, samples in zip(starts, tokens, strict=True)]


def _keys(prompts: Sequence[str]) -> list[str]:
    return [hashlib.sha256(prompt.encode()).hexdigest() for prompt in prompts]


def _uniforms(keys: list[str], sampling: Sampling) -> np.ndarray:
    """Return uniforms (prompts · samples, new_tokens, tries) that depend on (seed, prompt, sample, step) alone."""
    rows = []
    for key in keys:
        for sample in range(sampling.samples):
            digest = hashlib.sha256(json.dumps([sampling.seed, key, sample]).encode()).digest()
            random = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
            rows.append(random.random((sampling.new_tokens, tries(sampling.top_p))))
    return np.stack(rows)
