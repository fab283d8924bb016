"""Sample continuations: batched, left-padded, exactly as long as asked, each one reproducible by itself.

    lm-steer generate --model results/models/smollm2 --seed 0 \\
        --job "out.jsonl|results/prompts/neutral.jsonl|results/steers/smollm2/sentiment/seed0 sentiment=5"

A continuation depends on (seed, prompt, sample, step) alone: its random numbers are keyed by them, and it is computed
in a block of fixed shape, so that neither the other prompts nor their order nor the number of jobs shows in it
(exactly on a CPU in fp32; up to kernel rounding on a GPU).
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import Cache, StaticCache
from transformers.cache_utils import DynamicLayer

from lm_steer.digest import code_digest
from lm_steer.errors import LMSteerError
from lm_steer.files import fingerprint, read_json, write_json
from lm_steer.hidden import blocks_of
from lm_steer.models import LoadedModel
from lm_steer.progress import Progress

ROWS = {"cpu": 160, "cuda": 2000}
TRIES = 16
SHORTEST = 16
LONG = 32


@dataclass(frozen=True)
class Sampling:
    """How continuations are drawn; top_k 0 is no limit, top_p 1 is the whole distribution."""

    samples: int = 25
    new_tokens: int = 20
    top_p: float = 0.9
    top_k: int = 0
    seed: int = 0


def generate(
    loaded: LoadedModel, prompts: Sequence[str], sampling: Sampling, what: str, parts: Path | None = None
) -> list[list[str]]:
    """Return continuations, (prompts, samples), from the model as it stands (set a steer's values around the call).

    With `parts`, a folder, each finished block is kept there and found again after a kill.
    Raises LMSteerError where a prompt and its continuation exceed the model's context.
    """
    ids = loaded.tokenizer(list(prompts))["input_ids"]
    context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    for prompt, row in zip(prompts, ids, strict=True):
        if not row:
            raise LMSteerError(f"the tokenizer makes no token of the prompt {prompt!r}: leave it out")
        if context and len(row) + sampling.new_tokens > context:
            raise LMSteerError(
                f"a prompt of {len(row)} tokens and {sampling.new_tokens} more do not fit the model's context of "
                f"{context}: {prompt[:60]!r}"
            )
    # Padding must not push a prompt that fits out of the context.
    longest = context - sampling.new_tokens if context else math.inf
    texts: list[list[str]] = [[] for _ in prompts]
    with Progress(f"generate {what}", len(prompts), "prompt") as progress:
        lengths = [min(_bucket(len(row)), longest) for row in ids]
        per_block = partial(_per_block, loaded.device.type, sampling.samples)
        for length, full, indices in blocks_of(lengths, per_block):
            block = [prompts[index] for index in indices]
            part = parts and parts / f"{fingerprint(block)}.json"
            if part and part.exists():
                continuations = read_json(part)
                progress.skip(len(block))
            else:
                rows = [ids[index] for index in indices]
                tokens = _sample_block(loaded, rows, _keys(block), length, full, sampling)
                continuations = _decode(loaded, rows, tokens)
                if part:
                    write_json(part, continuations)
                progress.advance(len(block))
            for index, samples in zip(indices, continuations, strict=True):
                texts[index] = samples
    return texts


def parts_folder(cache: str | Path, loaded: LoadedModel, steer: object, sampling: Sampling) -> Path:
    """Return the folder for finished blocks, named by all that their texts depend on."""
    identity = [code_digest("generate"), loaded.fingerprint, steer, asdict(sampling)]
    return Path(cache) / "generations" / fingerprint(identity)


def sample_tokens(logits: Tensor, uniforms: Tensor, top_p: float = 1.0, top_k: int = 0) -> Tensor:
    """Draw one token a row, exactly from the top-k, then top-p part of softmax(logits).

    logits (rows, vocabulary) in float32; uniforms (rows, tries) in [0, 1), of which a row uses as many as it needs.
    The nucleus is the smallest set of most probable tokens whose mass reaches top_p; tokens as probable as its last
    one belong to it. Instead of sorting the vocabulary, a token is drawn from the whole and kept if it lies in the
    nucleus, that is if more probable tokens hold less than top_p; else the next uniform is used. Rows that have
    found none before the last uniform (a small nucleus) are sorted after all.
    """
    ids = None
    if 0 < top_k < logits.shape[1]:
        logits, ids = logits.topk(top_k, dim=-1)
    probabilities = logits.softmax(-1)
    cumulative = probabilities.cumsum(-1)
    chosen = torch.empty(len(logits), dtype=torch.long, device=logits.device)
    pending = torch.arange(len(logits), device=logits.device)
    for column in range(uniforms.shape[1] - 1):
        drawn = _inverse(cumulative, uniforms[pending, column, None])
        chosen[pending] = drawn.squeeze(1)
        if top_p == 1:
            break
        own = probabilities.gather(1, drawn)
        above = torch.where(probabilities > own, probabilities, 0.0).sum(-1, keepdim=True)
        outside = (above >= top_p * cumulative[:, -1:]).squeeze(1)
        if not outside.any():
            break
        # The few rows that drew from outside the nucleus try again.
        pending, probabilities, cumulative = pending[outside], probabilities[outside], cumulative[outside]
    else:
        chosen[pending] = _from_sorted(probabilities, uniforms[pending, -1:], top_p).squeeze(1)
    return chosen if ids is None else ids.gather(1, chosen[:, None]).squeeze(1)


def _from_sorted(probabilities: Tensor, uniforms: Tensor, top_p: float) -> Tensor:
    """Draw one token a row from the nucleus, found by sorting: as many rows of `uniforms` (rows, 1)."""
    ordered = probabilities.sort(dim=-1, descending=True).values
    cumulative = ordered.cumsum(-1)
    size = (cumulative - ordered < top_p * cumulative[:, -1:]).sum(-1, keepdim=True)
    lowest = ordered.gather(1, size - 1)
    return _inverse(torch.where(probabilities >= lowest, probabilities, 0.0).cumsum(-1), uniforms)


def _inverse(cumulative: Tensor, uniforms: Tensor) -> Tensor:
    """Return the token (rows, 1) at each uniform (rows, 1) of a cumulative distribution (rows, vocabulary)."""
    total = cumulative[:, -1:]
    # In float32 a uniform may round to 1, which would take the last token even where its probability is 0.
    points = torch.minimum(uniforms.float() * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, points, right=True).clamp_(max=cumulative.shape[1] - 1)


@torch.no_grad()
def _sample_block(
    loaded: LoadedModel,
    ids: list[list[int]],
    keys: list[str],
    length: int,
    per_block: int,
    sampling: Sampling,
) -> Tensor:
    """Return new tokens (prompts, samples, new_tokens) for prompts padded on the left to `length`.

    The block is filled up to `per_block` prompts, so that its shape never varies.
    """
    model, device = loaded.model, loaded.device
    filled = [*ids, *[ids[-1]] * (per_block - len(ids))]
    padding = loaded.tokenizer.pad_token_id
    tokens = torch.tensor([[padding] * (length - len(row)) + row for row in filled], device=device)
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in filled], device=device)
    uniforms = torch.from_numpy(_uniforms([*keys, *[keys[-1]] * (per_block - len(keys))], sampling)).to(device)
    forbidden = _forbidden(loaded)

    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    out = model(tokens, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1)
    cache = _cache_for_samples(loaded, out.past_key_values, sampling)
    mask = mask.repeat_interleave(sampling.samples, 0)
    position = positions[:, -1:].repeat_interleave(sampling.samples, 0)
    logits = out.logits[:, -1].repeat_interleave(sampling.samples, 0)
    made = []
    for step in range(sampling.new_tokens):
        if made:
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            position = position + 1
            out = model(
                made[-1][:, None],
                attention_mask=mask,
                position_ids=position,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            logits = out.logits[:, -1]
        logits = logits.float().index_fill(1, forbidden, -torch.inf)
        made.append(sample_tokens(logits, uniforms[:, step], sampling.top_p, sampling.top_k))
    new = torch.stack(made, dim=1).view(per_block, sampling.samples, sampling.new_tokens)
    return new[: len(ids)]


def _cache_for_samples(loaded: LoadedModel, prompts: Cache, sampling: Sampling) -> Cache:
    """Return the prompts' cache, repeated for their samples and with room for the new tokens.

    A static cache spares the copying of all keys and values at each step; caches of other kinds (sliding windows,
    states) grow as the model lets them.
    """
    if any(type(layer) is not DynamicLayer for layer in prompts.layers):
        prompts.batch_repeat_interleave(sampling.samples)
        return prompts
    length = prompts.get_seq_length()
    cache = StaticCache(config=loaded.model.config, max_cache_len=length + sampling.new_tokens)
    for index, layer in enumerate(prompts.layers):
        keys, values = (part.repeat_interleave(sampling.samples, 0) for part in (layer.keys, layer.values))
        cache.update(keys, values, index)
    return cache


def _forbidden(loaded: LoadedModel) -> Tensor:
    """Return ids that are never drawn: end of text and other special tokens, and padding of the vocabulary."""
    vocabulary = loaded.model.get_output_embeddings().weight.shape[0]
    ids = {*loaded.tokenizer.all_special_ids, *range(len(loaded.tokenizer), vocabulary)}
    return torch.tensor(sorted(index for index in ids if index < vocabulary), dtype=torch.long, device=loaded.device)


def _decode(loaded: LoadedModel, ids: list[list[int]], tokens: Tensor) -> list[list[str]]:
    """Return the text that the new tokens add to each prompt, its leading space kept."""

    def text(row: list[int]) -> str:
        return loaded.tokenizer.decode(row, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    return [
        [text(row + sample)[len(text(row)) :] for sample in samples]
        for row, samples in zip(ids, tokens.tolist(), strict=True)
    ]


def _keys(prompts: Sequence[str]) -> list[str]:
    return [hashlib.sha256(prompt.encode()).hexdigest() for prompt in prompts]


def _uniforms(keys: list[str], sampling: Sampling) -> np.ndarray:
    """Return uniforms (prompts · samples, new_tokens, tries) that depend on (seed, prompt, sample, step) alone."""
    rows = []
    for key in keys:
        for sample in range(sampling.samples):
            digest = hashlib.sha256(json.dumps([sampling.seed, key, sample]).encode()).digest()
            random = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
            rows.append(random.random((sampling.new_tokens, TRIES)))
    return np.stack(rows)


def _per_block(device: str, samples: int, length: int) -> int:
    """Return how many prompts make a block: fewer where they are long."""
    return max(1, ROWS[device] * LONG // max(LONG, length) // samples)


def _bucket(length: int) -> int:
    return max(SHORTEST, 1 << (length - 1).bit_length())
