"""The one place that decides what may be written, so that no output destroys another file.

    target = writable("results/models/gpt2", MODEL)

A regular file may be replaced. A folder may be where it is empty, or holds nothing but files of its kind.
"""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lm_steer.util.errors import LMSteerError

# The names of the files of each kind of folder. The first is in every such folder and shows whose it is; if it is a
# record that lists files, they count too.
Kind = tuple[str, ...]
MODEL = ("lm_steer_model.json",)
EXPORT = ("lm_steer_export.json",)
STEER = ("steer[._]*", "training.jsonl")
ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "README.md")
DATA = ("counts.json", "train.parquet", "dev.parquet", "test.parquet")
JUDGE = ("judge.json", "judge.safetensors", "vocabulary.txt")
ARCHIVE = ("archive.json",)
FIGURES = ("*.svg",)
# What a figure is put on (report/figures/style.py) tells it from other drawings.
GROUND = b'<rect width="100%" height="100%" fill="'
# In bytes.
LONGEST_NAME, LONGEST_PATH = 255, 4096
STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def writable(path: str | Path, kind: Kind | None = None) -> Path:
    """Return where a file, or a folder of a kind, is to be written: `path` with links followed.

    Raises LMSteerError where that would destroy something else, or is not possible. Changes nothing.
    """
    try:
        target = Path(os.path.realpath(path))
    except (TypeError, ValueError):
        raise LMSteerError(f"{path!r:.200} is not a valid path") from None
    path = Path(path)
    if kind is None and str(path) in STDOUT:
        return path
    if problem := _problem(path, target, kind):
        raise LMSteerError(f"{str(path)[:200]} {problem}")
    return target


def _problem(path: Path, target: Path, kind: Kind | None) -> str | None:
    there = next(place for place in (target, *target.parents) if os.path.lexists(place))
    if target in (Path.cwd(), *Path.cwd().parents):
        return "is the working directory or a parent of it: name a file or folder of its own"
    temporary = os.fsencode(temporary_of(target))
    if len(temporary) >= LONGEST_PATH or any(len(name) > LONGEST_NAME for name in temporary.split(b"/")):
        return "is too long for the name of a file: choose a shorter one"
    if any(part.is_symlink() and not part.exists() for part in (path, *path.parents)):
        return "is, or lies in, a link to something that does not exist: remove the link, or choose another path"
    # A stream that a shell has opened may be a file, but that of another program.
    is_stream = os.path.abspath(path).startswith(("/dev/fd/", "/dev/std", "/proc/"))
    if is_stream or (there == target and not (target.is_file() or target.is_dir())):
        return "is a device, pipe or socket: name a regular file or folder"
    for place in {there, there if there.is_dir() else there.parent}:
        if not os.access(place, os.W_OK):
            return f"cannot be written because {place} is read-only: choose another path"
    if there != target:
        return None if there.is_dir() else f"cannot be created because {there} is not a folder: choose another path"
    if target.is_dir() != (kind is not None):
        return "is a folder: name a file" if target.is_dir() else "is a file: name a folder"
    for other in _not_of(kind, target) if kind else ():
        return f"holds {other.relative_to(target)}, which this command does not write: choose a new or empty folder"
    return None


def _not_of(kind: Kind, folder: Path) -> Iterator[Path]:
    """Yield what is in a folder beside files of a kind, those being written, and the one that Snakemake puts there."""
    own = {path for name in kind if any(folder.glob(kind[0])) for path in folder.glob(name)}
    if kind is FIGURES:
        own = {path for path in own if path.is_file() and GROUND in path.read_bytes()}
    with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        listed = json.loads((folder / kind[0]).read_text(encoding="utf-8"))["files"]
        own = {folder / name for name in (kind[0], *listed)}
    own |= {parent for path in own for parent in path.parents}
    for path in folder.rglob("*"):
        if path not in own and path.name != ".snakemake_timestamp" and not path.match(".*.new.*-*.part"):
            yield path


def temporary_of(target: Path, what: str = "new") -> Path:
    """Return where this process keeps what is to become `target` (new), or what it was (old)."""
    return target.parent / f".{target.name}.{what}.{platform.node()}-{os.getpid()}.part"


def leftovers(target: Path) -> Iterator[Path]:
    """Yield what processes of this machine that were killed left beside `target`."""
    for path in list(target.parent.iterdir()):
        name, _, process = path.name.rpartition(f".{platform.node()}-")
        pid = process.removesuffix(".part")
        if name in (f".{target.name}.new", f".{target.name}.old") and pid.isdecimal():
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                yield path
            except OSError:
                # It runs, and is another user's.
                continue
