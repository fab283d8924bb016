"""One run at a time in a folder: a file names the run at work, and what a run that was killed left behind is cleared.

    lock, message = hold(Path(".snakemake"), cancel=list)      # keep `lock` for as long as the run lasts

The file names its owner, for some file systems keep locks on one machine only: the owner may be at work on another one.
Nothing is taken from it unless it has certainly ended.
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
    """Lock a folder of Snakemake's for this process; return the lock, and what there is to say, if anything.

    `cancel` ends the jobs that a killed run left at work, and returns their ids.
    """
    folder.mkdir(exist_ok=True)
    lock = open(folder / NAME, "a+", encoding="utf-8")  # noqa: SIM115, it stays open for as long as the run lasts
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Another run is at work here, as Snakemake will say; or the file system knows no locks.
        return lock, ""
    owner, left = _owner_of(lock), list((folder / "locks").glob("*"))
    if (owner or left) and not (owner and _has_ended(*owner)):
        run = f"process {owner[1]} on {owner[0]}" if owner else "a run that left no name"
        return lock, f"This folder is locked by {run}: if that has ended, run `snakemake --unlock`." if left else ""
    for path in left:
        path.unlink(missing_ok=True)
    jobs = cancel() if left else []
    ended = f", its jobs {jobs} are cancelled" if jobs else ""
    _write(lock, [socket.gethostname(), os.getpid(), _started(os.getpid())])
    atexit.register(_write, lock, [])
    return lock, f"An earlier run was killed here: its lock is taken away{ended}." if left else ""


def _owner_of(lock: IO[str]) -> Owner | None:
    lock.seek(0)
    try:
        host, pid, started = lock.read().split()
        return host, int(pid), float(started)
    except ValueError:
        return None


def _has_ended(host: str, pid: int, started: float) -> bool:
    """Whether a run has certainly ended: nothing is known of other machines, and process ids are used again."""
    now = _started(pid)
    return host == socket.gethostname() and (now is None or abs(now - started) > 1)


def _started(pid: int) -> float | None:
    """Return when a process started, in seconds since the epoch; None where there is none."""
    import psutil  # type: ignore[import-untyped]

    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None


def _write(lock: IO[str], owner: Iterable[object]) -> None:
    lock.truncate(0)
    lock.write(" ".join(map(str, owner)))
    lock.flush()
