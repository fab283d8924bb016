"""Measure the time and peak memory of a piece of work, and the machine's limits.

cost = measure(lambda: work(), torch.device("cpu"))          # cost.seconds, cost.peak in bytes
limit = machine_limit(torch.device("cpu"), torch.float32)    # FLOP and bytes per second
"""

import ctypes
import gc
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lm_steer.util.machine import processor

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Cost:
    """Seconds and peak memory in bytes of one run: memory of the GPU, or else of the process.

    The seconds are wall-clock time; on a CPU with one thread processor time, which is the same on an idle machine and
    does not depend on other processes on a busy one.
    """

    seconds: float
    peak: int


@dataclass(frozen=True)
class Limit:
    """The machine's limits: floating-point operations per second, and bytes read and written per second."""

    flops: float
    bandwidth: float


def measure(work: Callable[[], object], device: torch.device) -> Cost:
    """Run `work` once and return its cost."""
    single_threaded = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if single_threaded else time.perf_counter
    _reset_peak(device)
    _wait(device)
    start = clock()
    work()
    _wait(device)
    return Cost(clock() - start, _peak(device))


def fastest(runs: Sequence[Cost]) -> Cost:
    """Return the fastest of several runs, with the highest peak."""
    return Cost(min(run.seconds for run in runs), max(run.peak for run in runs))


def machine_limit(device: torch.device, dtype: torch.dtype) -> Limit:
    """Measure a square matrix product and a copy that exceed every cache."""
    side = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(left)
    source = torch.zeros((1 << 30 if device.type == "cuda" else 1 << 27) // 4, device=device)
    target = torch.empty_like(source)
    # The first run warms up; the fastest counts.
    multiplied = fastest([measure(lambda: torch.mm(left, right, out=product), device) for _ in range(6)])
    copied = fastest([measure(lambda: target.copy_(source), device) for _ in range(6)])
    return Limit(2 * side**3 / multiplied.seconds, 2 * source.nbytes / copied.seconds)


def hardware(device: torch.device) -> str:
    """Return the name of the GPU, or of the processor with its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {torch.get_num_threads()} threads"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif CLEAR.exists():
        # Return freed memory to the system first, or it would count as used.
        gc.collect()
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)
        CLEAR.write_text("5")


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    # Without /proc, the peak of the process since its start, in kB or, on macOS, in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
