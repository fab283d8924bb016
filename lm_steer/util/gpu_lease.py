"""A lease on one GPU per process, so that jobs on one machine never share a device.

    with leased_device():
        ...                              # CUDA_VISIBLE_DEVICES names the one device that is this process's own

A lease is a socket bound to the device's name in Linux's abstract namespace: one process alone can hold a name, no file
is made, and the system frees it when the process ends, however it ends. Containers with networks of their own do not
see each other's leases. The devices are those of CUDA_VISIBLE_DEVICES, where it is set (`CUDA_VISIBLE_DEVICES=2,3
snakemake …` keeps to two of them), else all that nvidia-smi lists. A SLURM job's devices are its own: its leases are
shared with nobody outside the job.
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
    """Return the names of the GPUs that this process may use, none where there is none."""
    if VISIBLE in os.environ:
        return [name for name in os.environ[VISIBLE].replace(" ", "").split(",") if name not in ("", "-1")]
    return [str(number) for number in range(output_of("nvidia-smi", "--list-gpus").count("GPU "))]


@contextmanager
def leased_device(wanted: bool = True) -> Iterator[str | None]:
    """Hold one free device and make it the only visible one, waiting until there is one.

    Yields its name, or None where no device is wanted or there.
    """
    # What holds a device, an address without a file, is Linux's; elsewhere a process takes what it finds.
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
    """Return the first device that is free, and what holds it, waiting until there is one."""
    waiting = False
    while True:
        for name in names:
            if lock := _held(name):
                return name, lock
        if not waiting:
            say(f"all of the devices {', '.join(names)} are in use: waiting for one")
            waiting = True
        time.sleep(SECONDS_BETWEEN_TRIES)


def _held(name: str) -> socket.socket | None:
    """Return a socket that holds a device until it is closed, or None where another process holds it."""
    # Inside SLURM jobs the same number may be another device each time; an address has at most 108 bytes.
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
