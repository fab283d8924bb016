"""A lease on one GPU per process, so that jobs on one machine never share a device.

    with leased_device():
        ...                              # CUDA_VISIBLE_DEVICES names the one device that is this process's own

A lease is a lock on a file, which the system drops when the process ends, however it ends. The devices are those of
CUDA_VISIBLE_DEVICES, where it is set (`CUDA_VISIBLE_DEVICES=2,3 snakemake …` keeps to two of them), else all that
nvidia-smi lists. A SLURM job's devices are its own: its leases are shared with nobody outside the job.
"""

import fcntl
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from lm_steer.util.errors import LMSteerError
from lm_steer.util.progress import say

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
    file = f"{os.environ.get('SLURM_JOB_ID', 'machine')}-{name}.lock".replace("/", "-")
    try:
        lock = os.fdopen(_open_shared(file), "r+b")
    except OSError as error:
        raise LMSteerError(
            f"{FOLDER} cannot be used to share the GPUs of this machine ({error.strerror or error}): it has to be a "
            "folder with the sticky bit, as /tmp is; remove it, or ask its owner to"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _open_shared(file: str) -> int:
    """Open a lock file in FOLDER, made for everyone on this machine; nothing of another user's is followed or changed.

    Nobody but its owner can delete or replace a file in a folder with the sticky bit.
    """
    with suppress(FileExistsError):
        FOLDER.mkdir()
    folder = os.open(FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(folder)
        if found.st_uid == os.getuid():
            os.fchmod(folder, 0o1777)
        elif not found.st_mode & stat.S_ISVTX:
            raise OSError("its owner is another user")
        # Linux may refuse O_CREAT for another user's file, so it is tried without; another process may be faster, too.
        for create in (0, os.O_CREAT | os.O_EXCL, 0):
            with suppress(FileNotFoundError, FileExistsError):
                lock = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | create, 0o666, dir_fd=folder)
                if create:
                    os.fchmod(lock, 0o666)
                return lock
        raise OSError(f"{file} comes and goes")
    finally:
        os.close(folder)
