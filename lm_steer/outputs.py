"""What may be written: the one place that decides it, so that no output costs a file that is something else.

    target = writable("results/models/gpt2", MODEL)

A regular file may be replaced. A folder may be where it is empty, or holds nothing but files of its kind.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lm_steer.errors import LMSteerError
from lm_steer.owner import is_gone, owner

# The files of each kind of folder. One like the first is in every such folder, and shows whose it is; where it is a
# record with a list of files, they count too.
MODEL = ("lm_steer_model.json",)
EXPORT = (
    *("lm_steer_export.json", "*config.json", "model*.safetensors", "model.safetensors.index.json", "tokenizer*"),
    *("adapter_model.safetensors", "vocab.*", "merges.txt", "special_tokens_map.json", "added_tokens.json"),
    *("spiece.model", "sentencepiece.bpe.model", "chat_template.jinja"),
)
STEER = ("steer[._]*", "training.jsonl")
ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "README.md")
DATA = ("counts.json", "train.parquet", "dev.parquet", "test.parquet")
JUDGE = ("judge.json", "judge.safetensors", "vocabulary.txt")
FIGURES = ("*.svg",)
# What figures are put on (report/figures.py), by which they are known among other drawings.
GROUND = b'<rect width="100%" height="100%" fill="'
STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
LONGEST_NAME = 255

Kind = tuple[str, ...]


def writable(path: str | Path, kind: Kind | None = None) -> Path:
    """Return where a file, or a folder of a kind, is to be written: `path` with links followed.

    Raises LMSteerError where that would destroy something else, or is not possible. Changes nothing.
    """
    path = Path(path)
    if kind is None and str(path) in STDOUT:
        return path
    target = Path(os.path.realpath(path))
    if problem := _problem(path, target, kind):
        raise LMSteerError(f"{str(path)[:200]} {problem}")
    return target


def _problem(path: Path, target: Path, kind: Kind | None) -> str:
    above = next(parent for parent in target.parents if os.path.lexists(parent))
    locked = [place for place in (target if target.is_dir() else above, target) if not os.access(place, os.W_OK)]
    if target in (Path.cwd(), *Path.cwd().parents):
        return "is the working directory or a parent of it: name a file or folder of its own"
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in temporary_of(target).parts):
        return "is too long for the name of a file: choose a shorter one"
    if any(part.is_symlink() and not part.exists() for part in (path, *path.parents)):
        return "is a link to something that is not there, or lies in one: remove the link, or choose another path"
    if not above.is_dir():
        return f"cannot be made because {above} is not a folder: choose another path"
    if locked and os.path.lexists(locked[0]):
        return f"cannot be written because {locked[0]} is read-only: choose another path"
    if not target.exists():
        return ""
    if not (target.is_file() or target.is_dir()):
        return "is a device, pipe or socket: name a file or folder that may be replaced"
    if target.is_dir() != (kind is not None):
        return "is a folder: name a file" if target.is_dir() else "is a file: name a folder"
    other = next(_not_of(kind, target), None) if kind else None
    return (
        f"holds {other.relative_to(target)}, which is not of this command: choose a new or empty folder"
        if other
        else ""
    )


def _not_of(kind: Kind, folder: Path) -> Iterator[Path]:
    """Yield what is in a folder beside files of a kind, those being written, and the one that Snakemake puts there."""
    own = {path for name in kind if any(folder.glob(kind[0])) for path in folder.glob(name)}
    if kind is FIGURES:
        own = {path for path in own if path.is_file() and GROUND in path.read_bytes()}
    with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        own |= {folder / name for name in json.loads((folder / kind[0]).read_text(encoding="utf-8"))["files"]}
    own |= {parent for path in own for parent in path.parents}
    for path in folder.rglob("*"):
        if path not in own and path.name != ".snakemake_timestamp" and not path.match(".*.part"):
            yield path


def temporary_of(target: Path, part: str = "new") -> Path:
    """Return where this process keeps what is to become `target` (new), or what `target` was (old)."""
    return target.parent / f".{target.name}.{part}.{owner()}.part"


def leftovers(target: Path) -> Iterator[Path]:
    """Yield what processes that were killed left beside `target`."""
    for part in ("new", "old"):
        start = f".{target.name}.{part}."
        for path in [*target.parent.iterdir()]:
            name = path.name.removesuffix(".part")
            if name != path.name and name.startswith(start) and is_gone(name.removeprefix(start)):
                yield path
