"""Capture a decode step as a CUDA graph, which the host launches with one call.

    graph = capture(start, step, device)
    start()
    graph.replay()

`start` sets the buffers that `step` reads and writes to a block's first tokens.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor

# Tolerated total variation distance, averaged over rows, between the distributions of graph and plain step.
DIFFERENCE, HALF_DIFFERENCE = 1e-3, 3e-2
# Tolerated share of changed draws per DIFFERENCE: rounding changes few, leaving out a steer changes many.
DRAWS_PER_DIFFERENCE = 10


def capture(start: Callable[[], None], step: Callable[[], None], device: torch.device) -> torch.cuda.CUDAGraph:
    """Return the graph of a step.

    Raises what the step raises, and RuntimeError if the step makes the host wait for the device; stream and allocator
    are restored after an error.
    """
    before = torch.cuda.current_stream(device)
    side = torch.cuda.Stream(device)
    side.wait_stream(before)
    with torch.cuda.stream(side):
        # Warm up lazy initialisation and compiled kernels.
        start()
        step()
        start()
        with _error_on_wait():
            step()
    before.wait_stream(side)
    start()
    graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
    try:
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            step()
    except BaseException:
        _restore(before, device, pool)
        raise
    return graph


@contextmanager
def _error_on_wait() -> Iterator[None]:
    """Raise an error if the host waits for the device, because within a capture it is hard to recover from."""
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        # torch warns at each call that it may miss some waits.
        warnings.filterwarnings("ignore", message="Synchronization debug mode")
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(mode)


def _restore(stream: torch.cuda.Stream, device: torch.device, pool: tuple[int, int]) -> None:
    """Restore the stream and the allocator's pool after a capture that could not be ended."""
    torch.cuda.set_stream(stream)
    index = torch.cuda.current_device() if device.index is None else device.index
    # A capture that ended has done both already, and repeating them is an error.
    with suppress(RuntimeError):
        torch._C._cuda_endAllocateToPool(index, pool)
        torch._C._cuda_releasePool(index, pool)
    torch.cuda.synchronize(device)


def same_draw(actual: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], difference: float) -> bool:
    """Whether logits (rows, vocabulary) and tokens (rows, steps) equal those expected up to rounding; NaN never do."""
    (logits, tokens), (plain_logits, plain_tokens) = actual, expected
    distance = (logits.softmax(-1) - plain_logits.softmax(-1)).abs().sum(-1).mean().item() / 2
    changes = (tokens != plain_tokens).float().mean().item()
    return distance <= difference and changes <= DRAWS_PER_DIFFERENCE * difference
