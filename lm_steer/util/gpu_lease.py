"""A lease on one GPU per process, so that jobs on one machine never share a device.

    with leased_device():
        ...                              # CUDA_VISIBLE_DEVICES names the one device leased to this process

A lease is a socket bound to the device's name in Linux's abstract namespace: only one process can hold a name, no file
is made, and the system frees it however the process ends. Containers with separate networks do not see each other's
leases. The devices are those of CUDA_VISIBLE_DEVICES if it is set (`CUDA_VISIBLE_DEVICES=2,3 snakemake …` uses two of
them), else all that nvidia-smi lists. Leases in a SLURM job are separate from those outside it.
"""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EADDRINUSE

from lm_steer.util.files import fingerprint
from lm_steer.util.machine import output_of
from lm_steer.util.progress import say

VISIBLE = "CUDA_VISIBLE_DEVICES"
SECONDS_BETWEEN_TRIES = 0.5


def devices() -> list[str]:
    """Return the names of the GPUs that this process may use, possibly none."""
    if VISIBLE in os.environ:
        return [name for name in os.environ[VISIBLE].replace(" ", "").split(",") if name not in ("", "-1")]
    return [str(number) for number in range(output_of("nvidia-smi", "--list-gpus").count("GPU "))]


@contextmanager
def leased_device(wanted: bool = True) -> Iterator[str | None]:
    """Hold one free device, waiting for it if need be, and make it the only visible one.

    Yields its name, or None if no device is wanted or available.
    """
    # Only Linux has socket addresses without a file; elsewhere a process uses whatever device it finds.
    names = devices() if wanted and sys.platform == "linux" else []
    if not names:
        yield None
        return
    name, lock = _lease(names)
    job = os.environ.get("SLURM_JOB_ID")
    say(f"device {name} of {', '.join(names)}" + (f", SLURM job {job}" if job else ""))
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = name
    try:
        yield name
    finally:
        lock.close()
        del os.environ[VISIBLE]
        os.environ |= {} if before is None else {VISIBLE: before}


def _lease(names: list[str]) -> tuple[str, socket.socket]:
    """Wait for a free device; return its name and the socket that holds it."""
    waiting = False
    while True:
        for name in names:
            if lock := _try_lease(name):
                return name, lock
        if not waiting:
            say(f"all of the devices {', '.join(names)} are in use: waiting for one")
            waiting = True
        time.sleep(SECONDS_BETWEEN_TRIES)


def _try_lease(name: str) -> socket.socket | None:
    """Return a socket that holds a device until it is closed, or None if another process holds it."""
    # The same number may be another device in each SLURM job; an address has at most 108 bytes.
    address = f"\0lm-steer-device-{fingerprint([os.environ.get('SLURM_JOB_ID'), name])}"
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(address)
    except OSError as error:
        lock.close()
        if error.errno != EADDRINUSE:
            raise
        return None
    return lock
