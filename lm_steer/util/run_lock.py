"""Allow one run at a time in a folder: a file names the active run, and what a killed run left behind is removed.

    lock, message = hold(Path(".snakemake"), cancel=list)      # keep `lock` open until the run ends

The file names its owner because some file systems lock on one machine only, and the owner may run on another. Its lock
is removed only if it has certainly ended.
"""

import atexit
import fcntl
import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

Owner = tuple[str, int, float]
NAME = "run.lock"


def hold(folder: Path, cancel: Callable[[], list[str]]) -> tuple[IO[str], str]:
    """Lock Snakemake's folder for this process; return the lock, and a message for the user or "".

    `cancel` ends the jobs that a killed run left running, and returns their ids.
    """
    folder.mkdir(exist_ok=True)
    lock = open(folder / NAME, "a+", encoding="utf-8")  # noqa: SIM115, it stays open until the run ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Another run is active here, as Snakemake will say; or the file system has no locks.
        return lock, ""
    owner, locks = _owner_of(lock), list((folder / "locks").glob("*"))
    if (owner or locks) and not (owner and _has_ended(*owner)):
        run = f"process {owner[1]} on {owner[0]}" if owner else "an unknown run"
        return lock, f"This folder is locked by {run}: if that has ended, run `snakemake --unlock`." if locks else ""
    for path in locks:
        path.unlink(missing_ok=True)
    jobs = cancel() if locks else []
    cancelled = f" and its jobs {jobs} cancelled" if jobs else ""
    _write(lock, [socket.gethostname(), os.getpid(), _started(os.getpid())])
    atexit.register(_write, lock, [])
    return lock, f"An earlier run was killed here: its lock was removed{cancelled}." if locks else ""


def _owner_of(lock: IO[str]) -> Owner | None:
    lock.seek(0)
    try:
        host, pid, started = lock.read().split()
        return host, int(pid), float(started)
    except ValueError:
        return None


def _has_ended(host: str, pid: int, started: float) -> bool:
    """Whether a run has certainly ended: nothing is known about other machines, and process ids are reused."""
    now = _started(pid)
    return host == socket.gethostname() and (now is None or abs(now - started) > 1)


def _started(pid: int) -> float | None:
    """Return when a process started, in seconds since the epoch; None if it does not exist."""
    import psutil  # type: ignore[import-untyped]

    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None


def _write(lock: IO[str], owner: Iterable[object]) -> None:
    lock.truncate(0)
    lock.write(" ".join(map(str, owner)))
    lock.flush()
