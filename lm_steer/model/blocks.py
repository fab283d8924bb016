"""Run texts in blocks of equal shape: padding, batching and block sizes."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import TypeVar

import torch
from torch import Tensor

from lm_steer.model.head import head_inputs
from lm_steer.model.load import LoadedModel
from lm_steer.util.errors import LMSteerError
from lm_steer.util.progress import say

# Tokens per block, and the multiple that texts are padded to.
TOKENS = {"cpu": 512, "cuda": 16384}
STEP = 4

Item = TypeVar("Item")
Key = TypeVar("Key", int, tuple[int, int])


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a host tensor to a device; the host does not wait for a GPU to finish the copy."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def one_ahead(device: torch.device, results: Iterator[tuple[Item, Tensor]]) -> Iterator[tuple[Item, Tensor]]:
    """Yield items with their tensors on the host; a GPU computes the next one while the caller uses the last."""
    running: deque[tuple[Item, Callable[[], Tensor]]] = deque()
    for item, tensor in results:
        running.append((item, _to_host(tensor)))
        if len(running) > (device.type == "cuda"):
            last, wait = running.popleft()
            yield last, wait()
    for last, wait in running:
        yield last, wait()


def _to_host(tensor: Tensor) -> Callable[[], Tensor]:
    """Start copying a tensor from the GPU and return a function that waits for the copy, but not for later work."""
    if not tensor.is_cuda:
        return lambda: tensor
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()

    def wait() -> Tensor:
        copied.synchronize()
        return host

    return wait


def padded_right(loaded: LoadedModel, rows: list[list[int]], length: int) -> tuple[Tensor, Tensor]:
    """Return token ids and attention mask, (rows, length), padded on the right."""
    padding, device = loaded.tokenizer.pad_token_id, loaded.device
    tokens = torch.tensor([row + [padding] * (length - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    return sent(tokens, device), sent(mask, device)


def padded_states(loaded: LoadedModel, rows: list[list[int]], length: int) -> Tensor:
    """Return the head inputs (rows, length, hidden) of token ids, padded on the right."""
    return head_inputs(loaded.model, *padded_right(loaded, rows, length))


def blocks_of(
    keys: Sequence[Key], rows: Callable[[Key], int], mixed: bool = False
) -> Iterator[tuple[Key, int, list[int]]]:
    """Yield blocks of items with the same key, largest key first: (key, rows of a full block, indices of this block).

    A key is an item's padded length, or several lengths; a block filled up to its rows has a shape that depends on its
    key alone. With `mixed`, a block also takes items whose last length is at least three quarters of the block's: on a
    GPU some padding costs less than another small block, and a row's bits differ between blocks there anyway.
    """
    order = sorted(range(len(keys)), key=keys.__getitem__, reverse=True)
    start = 0
    while start < len(order):
        key = keys[order[start]]
        full = rows(key)
        block = list(takewhile(lambda index: _joins(keys[index], key, mixed), order[start : start + full]))  # noqa: B023
        yield key, full, block
        start += len(block)


def _joins(key: Key, block: Key, mixed: bool) -> bool:
    *others, last = key if isinstance(key, tuple) else (key,)
    *of_block, longest = block if isinstance(block, tuple) else (block,)
    return key == block or (mixed and others == of_block and 4 * last >= 3 * longest)


def run_in_parts(
    count: int, size: int, run: Callable[[slice, int], Tensor], advice: str, rows: int = 1
) -> tuple[Tensor, int]:
    """Return the concatenated results of run(part, size) on parts of `size` items, and the size that fitted in memory.

    If a part does not fit, the size is halved; LMSteerError with `advice` if not even one item fits. An item has `rows`
    rows, which the progress line counts.
    """
    results: list[Tensor] = []
    start = 0
    while start < count:
        try:
            results.append(run(slice(start, start + size), size))
            start += size
            continue
        except torch.OutOfMemoryError:
            if size == 1:
                raise LMSteerError(advice) from None
        # Outside the handler, whose traceback keeps the tensors that filled the memory.
        say(f"out of memory with {size * rows} rows: continuing with half as many")
        size = -(-size // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return torch.cat(results), size


def round_up(length: int, step: int = 8) -> int:
    """Return the smallest positive multiple of `step` that is at least `length`."""
    return max(1, -(-length // step)) * step
