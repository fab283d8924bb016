"""`lm-steer`: each step of a study as a command. The workflow's rules are these commands, ready to be pasted.

lm-steer --help
lm-steer generate --help
"""

import sys

try:
    import io
    import os
    import sqlite3

    from lm_steer.cli import analyses, bench, data, demo, record, report, scores, steers, store
    from lm_steer.cli import export as leaving
    from lm_steer.cli import generations as texts
    from lm_steer.cli.app import app
    from lm_steer.cli.heap import keep_freed_memory
    from lm_steer.util.errors import LMSteerError
    from lm_steer.util.files import is_full, is_memory
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    sys.exit(130)

__all__ = [
    "analyses",
    "app",
    "bench",
    "data",
    "demo",
    "leaving",
    "main",
    "record",
    "report",
    "scores",
    "steers",
    "store",
    "texts",
]


def main() -> None:
    """Run the command line; errors for people are one line on standard error, and exit code 1."""
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks a character shows its number.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SystemExit as end:
        if end.code == 130:
            print("interrupted", file=sys.stderr)
        _flush()
        raise
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except LMSteerError as error:
        if error.__cause__ and os.environ.get("LM_STEER_TRACEBACK"):
            raise
        sys.exit(f"error: {error}")
    except Exception as error:
        if is_full(error):
            sys.exit(f"error: the disk is full ({_first_line(error)}): free some space and run again")
        if isinstance(error, OSError) and error.filename is not None:
            sys.exit(f"error: {error.filename}: {error.strerror}")
        if isinstance(error, sqlite3.Error):
            place = getattr(error, "__notes__", ["a database in the cache folder"])[0]
            sys.exit(
                f"error: {place} ({error}): make sure that no other process holds it and that it is writable and "
                "intact, and run again"
            )
        if is_memory(error):
            sys.exit(f"error: out of memory ({_first_line(error)}): give the job more, and run again")
        if os.environ.get("LM_STEER_TRACEBACK"):
            raise
        what = " ".join(f"{type(error).__name__} {error}".split())[:300]
        sys.exit(f"error: a fault of lm-steer itself ({what}): run again with LM_STEER_TRACEBACK=1, and report it")


def _first_line(error: Exception) -> str:
    """Return what an error says first; a MemoryError says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _flush() -> None:
    """Write what was printed; whoever reads it may have seen enough, as `lm-steer engines | head -1` has."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
