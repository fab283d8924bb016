"""Download files once to `downloads()`: checked by digest, and resumed after an interruption.

    path = fetched("small-1.2.whl", "sha256:9f86…", lambda: "https://…/small-1.2.whl")

Without network access, put the file into `downloads()` by hand: it is checked there too.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lm_steer.util.errors import LMSteerError, needs, reason_of
from lm_steer.util.files import replacing, require_space, sha256_of
from lm_steer.util.progress import Progress, say

TRIES = 5


class Interrupted(Exception):
    """A transfer that may go through on another try."""


def downloads() -> Path:
    """Return the folder of downloads: $LM_STEER_DOWNLOADS, or one in the user's cache."""
    return Path(os.environ.get("LM_STEER_DOWNLOADS") or Path.home() / ".cache" / "lm-steer" / "downloads")


def patiently(what: str, *passing: type[BaseException]) -> Callable[..., Any]:
    """Return a caller `patiently(…)(function, *arguments)` that tries five times if one of `passing` is raised."""
    with needs("data"):
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

    return Retrying(
        retry=retry_if_exception_type(passing),
        stop=stop_after_attempt(TRIES),
        wait=wait_exponential(multiplier=float(os.environ.get("LM_STEER_RETRY_SECONDS", "1")), max=30),
        before_sleep=lambda state: say(
            f"{what}: {reason_of(state.outcome.exception() if state.outcome else None)}; trying again"
        ),
        reraise=True,
    )


def fetched(name: str, digest: str, address: Callable[[], str]) -> Path:
    """Return the checked local file `name`, downloading it from `address()` if needed.

    `digest` is `sha256:…` or `git blob id:…`. Raises LMSteerError if the transfer fails five times, or the file has
    another digest.
    """
    folder = downloads()
    path = folder / name
    if path.exists():
        _check(path, digest)
        return path
    with needs("data"):
        import requests

    passing = (Interrupted, requests.RequestException)
    with replacing(path) as temporary:
        try:
            patiently(name, *passing)(_download, name, address, temporary)
        except passing as error:
            raise LMSteerError(
                f"{name} could not be downloaded ({reason_of(error)}): check the network and run again, "
                f"or place {name} ({digest.replace(':', ' ')}) in {folder} by hand"
            ) from None
        _check(temporary, digest)
    return path


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock `folder` against other processes of this machine, waiting for its lock if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        say(f"waiting for another process to finish downloading to {folder}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _check(path: Path, digest: str) -> None:
    kind, expected = digest.split(":")
    actual = sha256_of(path) if kind == "sha256" else _git_blob_id(path)
    if actual != expected:
        raise LMSteerError(
            f"{path}: expected {kind} {expected}, found {actual}: the file is damaged or another one; delete it and "
            "run again"
        )


def _git_blob_id(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _download(name: str, address: Callable[[], str], path: Path) -> None:
    """Download to `path`, continuing where an earlier try stopped."""
    import requests

    url = address()
    start = path.stat().st_size if path.exists() else 0
    with requests.get(url, headers={"Range": f"bytes={start}-"} if start else {}, stream=True, timeout=30) as answer:
        if answer.status_code == 416:
            path.unlink()
            raise Interrupted("the partial file was longer than the complete one")
        answer.raise_for_status()
        if answer.status_code != 206:
            start = 0
        size = start + int(answer.headers.get("Content-Length", 0))
        require_space(path.parent, size - start, name)
        with Progress(f"download {name}", size // 1000, "kB") as progress, open(path, "ab") as file:
            file.truncate(start)
            progress.skip(start // 1000)
            for chunk in answer.iter_content(1 << 20):
                file.write(chunk)
                progress.advance(len(chunk) // 1000)
    if path.stat().st_size < size:
        raise Interrupted(f"the transfer stopped after {path.stat().st_size} of {size} bytes")
