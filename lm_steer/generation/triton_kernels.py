"""Triton kernels for attention to shared prompts and for nucleus sampling; torch for CUDA on Linux includes Triton."""

import torch
import triton
import triton.language as tl
from torch import Tensor

# One warp per row and head, and 16 keys at a time: on an H200 twice or four times as many of either are slower.
KEYS_AT_ONCE = 16
# New tokens of a row per program of `_continued_attention`: on an H200 32 take as long.
TOKENS_AT_ONCE = 16
# Comparisons that a program of `_mass_above` makes at once.
COMPARED = 16384


@triton.jit
def _attended(query, keys, values, at, visible, wide, top, total, result):  # noqa: ANN001, ANN202
    """Update an online softmax by more keys: the largest score, the sum of weights and the weighted sum of values."""
    mask = visible[:, None] & wide[None, :]
    scores = tl.sum(tl.load(keys + at, mask=mask, other=0.0).to(tl.float32) * query[None, :], 1)
    scores = tl.where(visible, scores, float("-inf"))
    # Finite even if no key is visible yet.
    highest = tl.maximum(tl.maximum(top, tl.max(scores, 0)), -1e30)
    weights, before = tl.exp(scores - highest), tl.exp(top - highest)
    result = result * before + tl.sum(weights[:, None] * tl.load(values + at, mask=mask, other=0.0).to(tl.float32), 0)
    return highest, total * before + tl.sum(weights, 0), result


@triton.jit
def _shared_attention(  # noqa: ANN202
    queries,  # noqa: ANN001
    prompt_keys,  # noqa: ANN001
    prompt_values,  # noqa: ANN001
    keys,  # noqa: ANN001
    values,  # noqa: ANN001
    begins,  # noqa: ANN001
    count,  # noqa: ANN001
    out,  # noqa: ANN001
    scaling,  # noqa: ANN001
    heads,  # noqa: ANN001
    groups,  # noqa: ANN001
    samples,  # noqa: ANN001
    length,  # noqa: ANN001
    room,  # noqa: ANN001
    width,  # noqa: ANN001
    WIDTH: tl.constexpr,
    KEYS: tl.constexpr,
):
    row, head = tl.program_id(0) // heads, tl.program_id(0) % heads
    group, column = head // (heads // groups), tl.arange(0, WIDTH)
    wide, place = column < width, tl.program_id(0).to(tl.int64) * width + column
    query = tl.load(queries + place, mask=wide, other=0.0).to(tl.float32) * scaling
    top, total, result = float("-inf"), 0.0, tl.zeros([WIDTH], dtype=tl.float32)
    prompt = row // samples
    begin = tl.load(begins + prompt)
    first = (prompt * groups + group).to(tl.int64) * length * width
    for start in range(begin // KEYS * KEYS, length, KEYS):
        token = start + tl.arange(0, KEYS)
        at = first + token[:, None] * width + column[None, :]
        visible = (token >= begin) & (token < length)
        top, total, result = _attended(query, prompt_keys, prompt_values, at, visible, wide, top, total, result)
    first = (row * groups + group).to(tl.int64) * room * width
    stop = tl.load(count)
    for start in range(0, stop, KEYS):
        token = start + tl.arange(0, KEYS)
        at = first + token[:, None] * width + column[None, :]
        top, total, result = _attended(query, keys, values, at, token < stop, wide, top, total, result)
    tl.store(out + place, result / total, mask=wide)


def shared_attention(
    query: Tensor,
    prompt_keys: Tensor,
    prompt_values: Tensor,
    keys: Tensor,
    values: Tensor,
    begins: Tensor,
    count: Tensor,
    scaling: float,
) -> Tensor:
    """Return the attention output of one new token per row, for a query of the same shape (rows, heads, 1, width).

    prompt_keys and prompt_values (prompts, groups, length, width) are read from `begins` (prompts,) on, by all samples
    of a prompt; keys and values (rows, groups, room, width) hold `count` (,) new tokens.
    """
    rows, heads, _, width = query.shape
    prompts, groups, length, _ = prompt_keys.shape
    query, out = query.contiguous(), torch.empty(query.shape, dtype=query.dtype, device=query.device)
    tensors = query, prompt_keys, prompt_values, keys, values, begins, count, out
    sizes = heads, groups, rows // prompts, length, keys.shape[2], width
    _shared_attention[(rows * heads,)](
        *tensors, scaling, *sizes, WIDTH=triton.next_power_of_2(width), KEYS=KEYS_AT_ONCE, num_warps=1
    )
    return out


@triton.jit
def _looked(query, keys, values, at, there, visible, scaling, top, total, result):  # noqa: ANN001, ANN202
    """Do the same as `_attended` for several queries, each over the keys that it may attend to."""
    key, value = tl.load(keys + at, mask=there, other=0.0), tl.load(values + at, mask=there, other=0.0)
    scores = tl.where(visible, tl.dot(query, tl.trans(key), input_precision="ieee") * scaling, float("-inf"))
    highest = tl.maximum(tl.maximum(top, tl.max(scores, 1)), -1e30)
    weights, before = tl.exp(scores - highest[:, None]), tl.exp(top - highest)
    result = result * before[:, None] + tl.dot(weights.to(value.dtype), value, input_precision="ieee")
    return highest, total * before + tl.sum(weights, 1), result


@triton.jit
def _continued_attention(  # noqa: ANN202
    queries,  # noqa: ANN001
    prompt_keys,  # noqa: ANN001
    prompt_values,  # noqa: ANN001
    keys,  # noqa: ANN001
    values,  # noqa: ANN001
    prompts,  # noqa: ANN001
    begins,  # noqa: ANN001
    out,  # noqa: ANN001
    scaling,  # noqa: ANN001
    heads,  # noqa: ANN001
    groups,  # noqa: ANN001
    length,  # noqa: ANN001
    tokens,  # noqa: ANN001
    width,  # noqa: ANN001
    query_row,  # noqa: ANN001
    query_head,  # noqa: ANN001
    query_token,  # noqa: ANN001
    key_row,  # noqa: ANN001
    key_group,  # noqa: ANN001
    key_token,  # noqa: ANN001
    WIDTH: tl.constexpr,
    TOKENS: tl.constexpr,
    KEYS: tl.constexpr,
):
    row, head, block = (tl.program_id(0) // heads).to(tl.int64), tl.program_id(0) % heads, tl.program_id(1)
    group, column, token = head // (heads // groups), tl.arange(0, WIDTH), block * TOKENS + tl.arange(0, TOKENS)
    wide = column < width
    there = (token < tokens)[:, None] & wide[None, :]
    at = row * query_row + head * query_head + token[:, None] * query_token + column[None, :]
    query = tl.load(queries + at, mask=there, other=0.0)
    top = tl.full([TOKENS], float("-inf"), tl.float32)
    total, result = tl.zeros([TOKENS], tl.float32), tl.zeros([TOKENS, WIDTH], tl.float32)
    prompt = tl.load(prompts + row)
    begin = tl.load(begins + prompt)
    first = (prompt * groups + group).to(tl.int64) * length * width
    for start in range(begin // KEYS * KEYS, length, KEYS):
        key = start + tl.arange(0, KEYS)
        inside = (key >= begin) & (key < length)
        place, shown = first + key[:, None] * width + column[None, :], inside[:, None] & wide[None, :]
        top, total, result = _looked(
            query, prompt_keys, prompt_values, place, shown, inside[None, :], scaling, top, total, result
        )
    first = row * key_row + group * key_group
    for start in range(0, tl.minimum(tokens, (block + 1) * TOKENS), KEYS):
        key = start + tl.arange(0, KEYS)
        place, shown = first + key[:, None] * key_token + column[None, :], (key < tokens)[:, None] & wide[None, :]
        visible = key[None, :] <= token[:, None]
        top, total, result = _looked(query, keys, values, place, shown, visible, scaling, top, total, result)
    at = ((row * tokens + token[:, None]) * heads + head) * width + column[None, :]
    tl.store(out + at, result / total[:, None], mask=there)


def continued_attention(
    query: Tensor,
    prompt_keys: Tensor,
    prompt_values: Tensor,
    keys: Tensor,
    values: Tensor,
    prompts: Tensor,
    begins: Tensor,
    scaling: float,
) -> Tensor:
    """Return the causal attention output of all new tokens, (rows, heads, tokens, width), each row after its prompt.

    prompt_keys and prompt_values (prompts, groups, length, width) are read from `begins` (prompts,) on; `prompts`
    (rows,) holds each row's prompt; keys and values (rows, groups, tokens, width) are those of the new tokens.
    """
    rows, heads, tokens, width = query.shape
    groups, length = prompt_keys.shape[1:3]
    query, keys, values = (each if each.stride(-1) == 1 else each.contiguous() for each in (query, keys, values))
    values = values if values.stride() == keys.stride() else values.contiguous()
    keys = keys if values.stride() == keys.stride() else keys.contiguous()
    out = query.new_empty(rows, tokens, heads, width)
    tensors = query, prompt_keys.contiguous(), prompt_values.contiguous(), keys, values, prompts, begins, out
    sizes = heads, groups, length, tokens, width, *query.stride()[:3], *keys.stride()[:3]
    constants = {"WIDTH": max(16, triton.next_power_of_2(width)), "TOKENS": TOKENS_AT_ONCE, "KEYS": KEYS_AT_ONCE}
    _continued_attention[(rows * heads, triton.cdiv(tokens, TOKENS_AT_ONCE))](
        *tensors, scaling, *sizes, **constants, num_warps=1
    )
    return out.transpose(1, 2)


@triton.jit
def _mass_above(probabilities, levels, out, size, tries, TRIES: tl.constexpr, TOKENS: tl.constexpr):  # noqa: ANN001, ANN202
    row, number = tl.program_id(0).to(tl.int64), tl.arange(0, TRIES)
    level = tl.load(levels + row * tries + number, mask=number < tries, other=float("inf"))
    mass = tl.zeros([TRIES], dtype=tl.float32)
    for start in range(0, size, TOKENS):
        token = start + tl.arange(0, TOKENS)
        part = tl.load(probabilities + row * size + token, mask=token < size, other=0.0)
        mass += tl.sum(tl.where(part[None, :] > level[:, None], part[None, :], 0.0), 1)
    tl.store(out + row * tries + number, mass, mask=number < tries)


def mass_above(probabilities: Tensor, levels: Tensor) -> Tensor:
    """Return the mass (rows, tries) of tokens more probable than each of `levels` (rows, tries), in one pass."""
    probabilities, levels = probabilities.contiguous(), levels.contiguous()
    (rows, size), tries = probabilities.shape, levels.shape[1]
    out, padded = torch.empty_like(levels), max(2, triton.next_power_of_2(tries))
    _mass_above[(rows,)](probabilities, levels, out, size, tries, TRIES=padded, TOKENS=max(16, COMPARED // padded))
    return out
