"""`lm-steer`: each step of a study as a command. The workflow's rules run these commands.

lm-steer --help
lm-steer generate --help
"""

import sys

try:
    import io
    import os
    import sqlite3
    import traceback
    from pathlib import Path

    # In the order of the steps, as `--help` lists them.
    from lm_steer.cli import data, steers, generations, evaluation, scores, analyses, report, beyond  # noqa: F401  # isort: skip
    from lm_steer.cli.app import app
    from lm_steer.util.errors import LMSteerError, presentable
    from lm_steer.util.files import is_full, is_memory
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    sys.exit(130)

__all__ = ["app", "main"]

FAULT = "a fault of lm-steer itself"


def main() -> None:
    """Run the command line; errors are one line on standard error, and exit code 1."""
    # Waiting threads of torch would spin and starve other programs: on a busy machine generation took more than twice
    # as long (workflow/docs/speed.md). OpenMP reads the variable once, when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for stream in (sys.stdout, sys.stderr):
        # Characters that a terminal lacks are printed as their numbers.
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
    except Exception as error:
        message = _message(error)
        traceback = bool(os.environ.get("LM_STEER_TRACEBACK"))
        if traceback and (error.__cause__ if isinstance(error, LMSteerError) else message.startswith(FAULT)):
            raise
        sys.exit(f"error: {presentable(message)}")


def _message(error: Exception) -> str:
    """Return the message of an error for users: what happened, and what to do."""
    # A MemoryError may have no message.
    first = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, LMSteerError):
        return str(error)
    if is_full(error):
        return f"the disk is full ({first}): free some space and run again"
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return "the working directory does not exist any more: change to another folder"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename2 or error.filename or 'a file or stream'}: {error.strerror}"
    if isinstance(error, sqlite3.Error):
        place = getattr(error, "__notes__", ["a database in the cache folder"])[0]
        advice = "make sure that it is writable, intact and not locked by another process, and run again"
        return f"{place} ({error}): {advice}"
    if is_memory(error):
        return f"out of memory ({first}): give the job more memory and run again"
    what = " ".join(f"{type(error).__name__} {error}".split())[:300]
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        name = error.object[max(0, error.start - 40) : error.end + 20]
        return f"{name!r} is not valid UTF-8: rename the file, or set a locale of UTF-8"
    if user_frames := [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename)]:
        return f"{user_frames[-1].filename}, line {user_frames[-1].lineno}: {what}: correct this code of yours"
    return f"{FAULT} ({what}): run again with LM_STEER_TRACEBACK=1, and report it"


def _is_own(file: str) -> bool:
    """Whether a file is a user's: not this package's, and no installed one."""
    path, here = Path(file), Path(__file__).parents[1]
    return path.is_relative_to(Path.cwd()) and "site-packages" not in path.parts and not path.is_relative_to(here)


def _flush() -> None:
    """Flush standard output, whose reader may have stopped early, as in `lm-steer engines | head -1`."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
