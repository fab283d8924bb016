"""Reading and writing files so that nobody meets half a file or a traceback.

with replacing("out.jsonl") as temporary:
    temporary.write_text("…")        # out.jsonl appears when the block ends well, and only then
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lm_steer.errors import LMSteerError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (a file or a folder) that takes its place if the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        yield temporary
        _open_to_others(temporary)
        if temporary.exists() and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def _open_to_others(path: Path) -> None:
    """Give files the rights of any other: safetensors writes them so that their owner alone can read them."""
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
    """Return a short stable name (16 hexadecimal digits) of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def read_text(path: str | Path) -> str:
    """Read a UTF-8 file; raise LMSteerError naming the line where it is not UTF-8."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise LMSteerError(f"{path}: there is no such file") from None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise LMSteerError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8: save the file as UTF-8"
        ) from None


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read JSON lines (blank lines are passed over); raise LMSteerError naming file and line of a bad one."""
    return [row for _, row in numbered_jsonl(path)]


def numbered_jsonl(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the lines of `read_jsonl` with their numbers, for further checks of each."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise LMSteerError(f"{path}, line {number}: not valid JSON ({error.msg} at column {error.colno})") from None
        if "\\u" in line and not _is_encodable(row):
            raise LMSteerError(f"{path}, line {number}: holds one half of a surrogate pair, which is not text")
        if not isinstance(row, dict):
            raise LMSteerError(f"{path}, line {number}: expected a JSON object, found {line[:40]!r}")
        yield number, row


def _is_encodable(row: Any) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def read_json(path: str | Path) -> Any:
    """Read one JSON document; raise LMSteerError where it is not one."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise LMSteerError(f"{path}, line {error.lineno}: not valid JSON ({error.msg})") from None


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as JSON lines, all or nothing."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write one indented JSON document, all or nothing."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
