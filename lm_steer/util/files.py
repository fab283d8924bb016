"""Write files completely or not at all, and read them with errors that name the file and the line.

with replacing("out.jsonl") as temporary:
    temporary.write_text("…")        # out.jsonl appears only if the block succeeds
"""

import hashlib
import json
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import EDQUOT, EFBIG, ENOSPC
from functools import cache
from pathlib import Path
from threading import RLock
from typing import Any

from lm_steer.util.errors import LMSteerError, reason_of
from lm_steer.util.outputs import STDOUT, Kind, leftovers, temporary_of, writable

POINTER = b"version https://git-lfs"
# The first bytes of files that are not the text they should be, and what to say of them.
NOT_TEXT = {
    b"\xff\xfe\x00\x00": "is encoded as UTF-32: save the file as UTF-8",
    b"\xff\xfe": "is encoded as UTF-16: save the file as UTF-8",
    b"\xfe\xff": "is encoded as UTF-16: save the file as UTF-8",
    b"\x1f\x8b": "is compressed by gzip: decompress it first",
    b"PK\x03\x04": "is a zip archive: unpack it first",
    b"PAR1": "is a parquet file: save it in the format that its name says",
    POINTER: "is a pointer of Git LFS: fetch the file itself with `git lfs pull`",
}
# The types of JSON in plain words.
KINDS: dict[Any, str] = {dict: "a mapping", list: "a list", str: "text", int: "a whole number", int | float: "a number"}
# Threads that write the same path take turns.
_WRITERS: dict[Path, Any] = {}


@contextmanager
def replacing(path: str | Path, kind: Kind | None = None) -> Iterator[Path]:
    """Yield a temporary path beside a file, or a folder of a kind, that replaces it if the block succeeds.

    Raises LMSteerError, before anything changes, if `path` may not be written (see `lm_steer.util.outputs`).
    """
    target = writable(path, kind)
    if str(target) in STDOUT:
        with _printed() as temporary:
            yield temporary
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with _WRITERS.setdefault(target.absolute(), RLock()):
        for leftover in leftovers(target):
            _remove(leftover)
        temporary = temporary_of(target)
        try:
            yield temporary
            _set_permissions(temporary)
            _put(temporary, writable(path, kind))
        finally:
            _remove(temporary)


def _put(temporary: Path, target: Path) -> None:
    """Move a finished file or folder to its place, then remove the folder that it replaces."""
    if not target.is_dir():
        temporary.replace(target)
        return
    old = temporary_of(target, "old")
    target.rename(old)
    try:
        temporary.rename(target)
    except BaseException:
        old.rename(target)
        raise
    _remove(old)


@contextmanager
def _printed() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "printed"
        yield temporary
        sys.stdout.flush()
        with open(temporary, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.flush()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _set_permissions(path: Path) -> None:
    """Give files the default permissions: safetensors makes them readable by their owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file() and not file.is_symlink():
            file.chmod(0o666 & ~mask)


def require_space(folder: str | Path, size: int, what: str) -> None:
    """Raise LMSteerError unless the disk of `folder` has `size` bytes free for `what`."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < size:
        raise LMSteerError(
            f"{what} needs {size / 1e6:.0f} MB in {folder}, where {free / 1e6:.0f} MB are free: "
            "free some space, or move the folder to another disk"
        )


def sha256_of(path: str | Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """Return a short stable name (16 hexadecimal digits) of any JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def reading(path: str | Path, what: str) -> Iterator[None]:
    """Turn any error while the block reads `path` as `what` into LMSteerError naming the file."""
    try:
        yield
    except LMSteerError:
        raise
    except FileNotFoundError as error:
        if Path(path).is_dir():
            raise LMSteerError(f"{path} lacks a file ({reason_of(error)[:200]})") from error
        raise LMSteerError(f"{path}: no such file") from None
    except Exception as error:
        if is_memory(error) or is_full(error):
            raise
        if isinstance(error, OSError) and error.strerror:
            raise LMSteerError(f"{path} cannot be read: {error.strerror}") from None
        message = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", re.sub(r"\x1b\[\d*m|\b\w+Error: ", "", str(error)))
        reason = " ".join(message.split()) or type(error).__name__
        if isinstance(error, AttributeError | TypeError | LookupError):
            reason = _in_plain_words(error)
        if isinstance(error, UnicodeError):
            reason = "it contains text that is not UTF-8"
        if "weights_only" in reason:
            reason = "it contains something other than tensors, perhaps code, and is not loaded"
        if "magic bytes" in reason:
            reason = "it is damaged or has another format"
        with suppress(OSError), open(path, "rb") as file:
            if (start := file.read(len(POINTER))) == POINTER:
                decoded(start, path)
        raise LMSteerError(f"{path} is not {what} ({reason[:200]})") from error


def _in_plain_words(error: AttributeError | TypeError | LookupError) -> str:
    """Describe what made a library fail on a file, without Python's terms."""
    if isinstance(error, KeyError):
        return f"{error} is missing or unknown"
    kinds = {kind.__name__: words for kind, words in KINDS.items() if isinstance(kind, type)} | {"NoneType": "null"}
    quoted = re.findall(r"'(\w+)'", str(error))
    for name in quoted:
        if name in kinds:
            return f"it has {kinds[name]} where something else is expected"
    return f"it sets '{quoted[0]}'" if quoted else "it has another format"


def is_full(error: Exception) -> bool:
    """Whether a disk is full or a quota or size limit reached; sqlite, safetensors and shutil have no error code."""
    phrases = ("No space left on device", "database or disk is full")
    return getattr(error, "errno", None) in (ENOSPC, EDQUOT, EFBIG) or any(phrase in str(error) for phrase in phrases)


def is_memory(error: Exception) -> bool:
    """Whether memory ran out; torch raises a RuntimeError."""
    return isinstance(error, MemoryError) or "not enough memory" in str(error) or "allocate memory" in str(error)


def read_text(path: str | Path) -> str:
    """Read a UTF-8 file, with or without a byte order mark; LMSteerError names a line that is not UTF-8."""
    with reading(path, "a text file"):
        content = _piped(path) if Path(path).is_fifo() else Path(path).read_bytes()
    return decoded(content, path)


def decoded(content: bytes, path: str | Path) -> str:
    """Decode the content of `path` as `read_text` does."""
    for start, problem in NOT_TEXT.items():
        if content.startswith(start):
            raise LMSteerError(f"{path} {problem}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # `error.object` lacks the byte order mark, as `error.start` does.
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{error.object[error.start]:02x}"
        raise LMSteerError(f"{path}, line {line}: {byte} is not UTF-8: save the file as UTF-8") from None


@cache
def _piped(path: str | Path) -> bytes:
    """Read a pipe, which can be read only once, while many files are read twice: to be checked and to be used."""
    return Path(path).read_bytes()


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read JSON lines, skipping blank ones; LMSteerError names the file and line of a bad one."""
    return [row for _, row in numbered_jsonl(path)]


def numbered_jsonl(path: str | Path, shape: Any = dict) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line numbers and JSON objects of a file, each checked to have a shape (see `fitting`)."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        # Concatenated files have a byte order mark each.
        line = line.removeprefix("\ufeff")
        if line.strip():
            yield number, fitting(parse_json(line, path, number), shape, f"{path}, line {number}")


def read_json(path: str | Path, shape: Any = object) -> Any:
    """Read one JSON document, checked to have a shape (see `fitting`); LMSteerError otherwise."""
    return fitting(parse_json(read_text(path), path), shape, path)


def parse_json(text: str, path: str | Path, line: int | None = None) -> Any:
    """Parse JSON from `path`, or from one `line` of it.

    Raises LMSteerError for invalid JSON, and for what readers disagree on: NaN and infinity, repeated keys, halves of
    surrogate pairs, and numbers that do not fit a float.
    """
    place = f"{path}, line {line}" if line else str(path)
    try:
        value = _JSON.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        at = "" if line else f", line {error.lineno}"
        raise LMSteerError(f"{place}{at}: not valid JSON from column {error.colno} on") from None
    except UnicodeEncodeError:
        raise LMSteerError(f"{place}: half of a surrogate pair is not valid text") from None
    except RecursionError:
        raise LMSteerError(f"{place}: the brackets are nested too deeply") from None
    except ValueError as error:
        raise LMSteerError(f"{place}: {error}") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return value


def _number(text: str) -> int | float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text[:20]} is not a finite number: use null for a missing one")
    return int(text) if text.lstrip("-").isdigit() else float(text)


_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_number, parse_float=_number, parse_int=_number)


def fitting(value: Any, shape: Any, path: str | Path, key: str = "") -> Any:
    """Return `value`, read from `path`, if it has the shape; otherwise raise LMSteerError naming the wrong key.

    A shape is a type, [shape of all items], {str: shape of all values}, or {key: shape} of required keys, beside which
    others are allowed.
    """
    if misfit := _misfit(value, shape):
        place, _, problem = f"{key}{misfit}".partition(": ")
        raise LMSteerError(f"{path}{', ' if place else ''}{place.removeprefix('.')}: {problem}")
    return value


def _misfit(value: Any, shape: Any) -> str:
    """Return where and how a value lacks its shape, as `.key[0]: …`; "" if it has it."""
    kind = type(shape) if isinstance(shape, (list, dict)) else shape
    if not isinstance(value, kind) or (isinstance(value, bool) and kind not in (bool, object)):
        return f": expected {KINDS.get(kind, kind)}, found {'null' if value is None else repr(str(value)[:40])}"
    if isinstance(shape, list):
        for number, item in enumerate(value):
            if problem := _misfit(item, shape[0]):
                return f"[{number}]{problem}"
    elif isinstance(shape, dict):
        for name, part in {name: shape[str] for name in value}.items() if str in shape else shape.items():
            if name not in value:
                return f": the key '{name}' is missing"
            if problem := _misfit(value[name], part):
                return f".{name}{problem}"
    return ""


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as JSON lines, completely or not at all."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write one indented JSON document, completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
