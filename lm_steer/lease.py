"""One GPU for one process: a lease on a device, so that jobs of one machine never share one.

    with leased_device():
        ...                              # CUDA_VISIBLE_DEVICES names the one device that is this process's own

A lease is a lock on a file, which the system drops when the process ends, however it ends. The devices are those of
CUDA_VISIBLE_DEVICES, where it is set (`CUDA_VISIBLE_DEVICES=2,3 snakemake …` keeps to two of them), else all that
nvidia-smi lists. A SLURM job's devices are its own: its leases are shared with nobody outside the job.
"""

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lm_steer.progress import say

FOLDER = Path("/tmp/lm-steer-devices")
VISIBLE = "CUDA_VISIBLE_DEVICES"
SECONDS_BETWEEN_TRIES = 0.5


def devices() -> list[str]:
    """Return the names of the GPUs that this process may use, none where there is none."""
    if VISIBLE in os.environ:
        return [name for name in os.environ[VISIBLE].replace(" ", "").split(",") if name not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    except OSError:
        return []
    return [str(number) for number in range(listed.stdout.count("GPU ") if listed.returncode == 0 else 0)]


@contextmanager
def leased_device(wanted: bool = True) -> Iterator[str | None]:
    """Hold one free device and make it the only visible one, waiting until there is one.

    Yields its name, or None where no device is wanted or there.
    """
    names = devices() if wanted else []
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
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before


def _lease(names: list[str]) -> tuple[str, IO[bytes]]:
    waiting = False
    while True:
        for name in names:
            lock = _try(name)
            if lock:
                return name, lock
        if not waiting:
            say(f"all of the devices {', '.join(names)} are in use: waiting for one")
            waiting = True
        time.sleep(SECONDS_BETWEEN_TRIES)


def _try(name: str) -> IO[bytes] | None:
    """Return the open, locked file of a free device, or None."""
    # Inside SLURM jobs the same number may be another device each time.
    path = FOLDER / f"{os.environ.get('SLURM_JOB_ID', 'machine')}-{name.replace('/', '-')}.lock"
    FOLDER.mkdir(exist_ok=True)
    # People of one machine share its devices, whatever their umask; nobody can hand us a link to follow.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    for shared in (FOLDER, path):
        if shared.stat().st_uid == os.getuid():
            shared.chmod(0o777 if shared is FOLDER else 0o666)
    lock = os.fdopen(descriptor, "r+b")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock
