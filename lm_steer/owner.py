"""The name of a running process, for files that are its own as long as it runs: `node7-4711-1042337`."""

import os
import platform
from pathlib import Path


def owner() -> str:
    """Name this process by its host, its id, and its start in clock ticks since boot, for ids are used again."""
    return f"{platform.node()}-{os.getpid()}-{_state(os.getpid())[1]}"


def is_gone(name: str) -> bool:
    """Whether the process that `owner` named has certainly ended; nothing is known of another host's."""
    host, pid, start = ("", *name.rsplit("-", 2))[-3:]
    if host != platform.node() or not (pid.isdecimal() and len(pid) < 10):
        return False
    try:
        os.kill(int(pid), 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    state, started = _state(int(pid))
    return state in ("Z", "X") or started not in (start, "0")


def _state(pid: int) -> tuple[str, str]:
    """Return the state of a process (Z, X: it has ended) and its start, "0" where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return "", "0"
    return fields[0], fields[19]
