"""Capture a decode step as a CUDA graph, which the host launches in one call.

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

# The mean difference, over rows, in total variation between the distributions of a graph and of the plain step.
DIFFERENCE, HALF_DIFFERENCE = 1e-3, 3e-2
# A draw near the edge of its interval turns with less than that; a steer that is left out turns many.
DRAWS_PER_DIFFERENCE = 10


def capture(start: Callable[[], None], step: Callable[[], None], device: torch.device) -> torch.cuda.CUDAGraph:
    """Return the graph of a step.

    Raises what the step raises, and RuntimeError where the host would wait for the device within it; stream and
    allocator are then those of before.
    """
    before = torch.cuda.current_stream(device)
    side = torch.cuda.Stream(device)
    side.wait_stream(before)
    with torch.cuda.stream(side):
        # What is set up lazily, and kernels that are compiled.
        start()
        step()
        start()
        with _waits_refused():
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
def _waits_refused() -> Iterator[None]:
    """Raise where the host waits for the device: within a capture that is an error which is hard to recover from."""
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        # torch says with each call that it finds no more than most waits.
        warnings.filterwarnings("ignore", message="Synchronization debug mode")
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(mode)


def _restore(stream: torch.cuda.Stream, device: torch.device, pool: tuple[int, int]) -> None:
    """Undo what a capture leaves behind that could not be ended: its stream, and an allocator that serves its pool."""
    torch.cuda.set_stream(stream)
    index = torch.cuda.current_device() if device.index is None else device.index
    # A capture that could be ended has done both itself, and doing them again is refused.
    with suppress(RuntimeError):
        torch._C._cuda_endAllocateToPool(index, pool)
        torch._C._cuda_releasePool(index, pool)
    torch.cuda.synchronize(device)


def same_draw(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], difference: float) -> bool:
    """Whether logits (rows, vocabulary) and tokens (rows, steps) are those expected, up to rounding; NaN never is."""
    (logits, tokens), (plain, drawn) = found, expected
    apart = (logits.softmax(-1) - plain.softmax(-1)).abs().sum(-1).mean().item() / 2
    turned = (tokens != drawn).float().mean().item()
    return apart <= difference and turned <= DRAWS_PER_DIFFERENCE * difference
