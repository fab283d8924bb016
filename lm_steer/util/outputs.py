"""Decide what may be written, so that no output destroys another file.

    target = writable("results/models/gpt2", MODEL)

A regular file may be replaced, and a folder that is empty or contains only files of its kind.
"""

import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lm_steer.util.errors import LMSteerError

# The names of the files in each kind of folder. The first is in every such folder and identifies it; if it is a record
# that lists files, they count too.
Kind = tuple[str, ...]
MODEL = ("lm_steer_model.json",)
EXPORT = ("lm_steer_export.json",)
STEER = ("steer[._]*", "training.jsonl")
ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "README.md")
DATA = ("counts.json", "train.parquet", "dev.parquet", "test.parquet")
JUDGE = ("judge.json", "judge.safetensors", "vocabulary.txt")
ARCHIVE = ("archive.json",)
FIGURES = ("*.svg",)
# The background (report/figures/style.py) distinguishes a figure from other drawings, which often have a white one.
GROUND = b'<rect width="100%" height="100%" fill="#fcfcfa"/>'
# In bytes.
LONGEST_NAME, LONGEST_PATH = 255, 4096
STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def writable(path: str | Path, kind: Kind | None = None) -> Path:
    """Return the path to write a file, or a folder of a kind, to: `path` with links resolved.

    Raises LMSteerError if that would destroy something else or is impossible. Changes nothing.
    """
    try:
        target = Path(os.path.realpath(path))
    except (TypeError, ValueError):
        raise LMSteerError(f"{path!r:.200} is not a valid path") from None
    path = Path(path)
    if kind is None and str(path) in STDOUT:
        if sys.stdout is None:
            raise LMSteerError(f"{path} is closed: name a file")
        return path
    if problem := _problem(path, target, kind):
        raise LMSteerError(f"{str(path)[:200]} {problem}")
    return target


def _problem(path: Path, target: Path, kind: Kind | None) -> str | None:
    existing = next(place for place in (target, *target.parents) if os.path.lexists(place))
    if target in (Path.cwd(), *Path.cwd().parents):
        return "is the working directory or a parent of it: name another file or folder"
    temporary = os.fsencode(temporary_of(target))
    if len(temporary) >= LONGEST_PATH or any(len(name) > LONGEST_NAME for name in temporary.split(b"/")):
        return "is too long for a file name: choose a shorter one"
    if any(part.is_symlink() and not part.exists() for part in (path, *path.parents)):
        return "is, or is in, a link to something that does not exist: remove the link, or choose another path"
    # A stream that a shell has opened may be a file, but another program's.
    is_stream = os.path.abspath(path).startswith(("/dev/fd/", "/dev/std", "/proc/"))
    if is_stream or (existing == target and not (target.is_file() or target.is_dir())):
        return "is a device, pipe or socket: name a regular file or folder"
    for place in {existing, existing if existing.is_dir() else existing.parent}:
        if not os.access(place, os.W_OK):
            return f"cannot be written because {place} is read-only: choose another path"
    if existing != target:
        return None if existing.is_dir() else f"is in {existing}, which is not a folder: choose another path"
    if target.is_dir() != (kind is not None):
        return "is a folder: name a file" if target.is_dir() else "is a file: name a folder"
    for other in _not_of(kind, target) if kind else ():
        return f"contains {other.relative_to(target)}, which this command does not write: choose a new or empty folder"
    return None


def _not_of(kind: Kind, folder: Path) -> Iterator[Path]:
    """Yield what is in a folder, other than files of a kind, those being written, and Snakemake's timestamp."""
    of_kind = {path for name in kind if any(folder.glob(kind[0])) for path in folder.glob(name)}
    if kind is FIGURES:
        of_kind = {path for path in of_kind if path.is_file() and GROUND in path.read_bytes()}
    with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        listed = json.loads((folder / kind[0]).read_text(encoding="utf-8"))["files"]
        of_kind = {folder / name for name in (kind[0], *listed)}
    of_kind |= {parent for path in of_kind for parent in path.parents}
    for path in folder.rglob("*"):
        if path not in of_kind and path.name != ".snakemake_timestamp" and not path.match(".*.new.*-*.part"):
            yield path


def temporary_of(target: Path, what: str = "new") -> Path:
    """Return where this process stores the coming (new) or former (old) `target`."""
    return target.parent / f".{target.name}.{what}.{platform.node()}-{os.getpid()}.part"


def leftovers(target: Path) -> Iterator[Path]:
    """Yield the temporary files that killed processes of this machine left beside `target`."""
    for path in list(target.parent.iterdir()):
        name, _, process = path.name.rpartition(f".{platform.node()}-")
        pid = process.removesuffix(".part")
        if name in (f".{target.name}.new", f".{target.name}.old") and pid.isdecimal():
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                yield path
            except OSError:
                # A running process of another user.
                continue
