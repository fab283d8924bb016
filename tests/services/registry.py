"""A stand-in of a package registry (the JSON index of PEP 691) and of a host of plain files, with faults on demand.

PYTHONPATH=tests python -m services.registry FOLDER [PORT]        # serves FOLDER/PROJECT/FILE, prints its PIP_INDEX_URL
"""

import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from services.service import Service, reply, reply_file


def tar_of(members: dict[str, bytes]) -> bytes:
    """Return a .tar.gz of these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class Registry(Service):
    """Serves FOLDER/PROJECT/FILE until the `with` ends.

    faults      taken one a request for a file, first to last: a status code to answer with, "cut N" to drop the
                connection after N bytes, None, or a function that is called then and returns one of these
    ranges      whether parts of a file are served
    json        whether the index is JSON; an older registry knows HTML alone
    requests    what was asked so far: (path, Range header or None)
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(port)
        self.folder = folder
        self.faults: list[int | str | Callable[[], int | str | None] | None] = []
        self.ranges = True
        self.json = True
        self.requests: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        """The address to give as PIP_INDEX_URL."""
        return f"{self.address}/simple"

    @property
    def files_url(self) -> str:
        """The address below which FOLDER's files lie, whatever they are."""
        return f"{self.address}/files"

    @property
    def file_requests(self) -> list[str | None]:
        """The Range headers of the requests for files."""
        return [asked for path, asked in self.requests if path.startswith("/files/")]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append((handler.path, handler.headers.get("Range")))
        kind, *rest = handler.path.strip("/").split("/")
        path = self.folder.joinpath(*rest)
        if not path.exists():
            reply(handler, 404, b"there is nothing here")
        elif kind == "files":
            self._file(handler, path)
        elif self.json:
            self._index(handler, path)
        else:
            reply(handler, 200, b"<!DOCTYPE html>", {"Content-Type": "text/html"})

    def _index(self, handler: BaseHTTPRequestHandler, folder: Path) -> None:
        # Addresses relative to the index, as registries behind a proxy give them.
        files = [
            {
                "filename": path.name,
                "url": f"../../files/{folder.name}/{path.name}",
                "hashes": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
            }
            for path in sorted(folder.iterdir())
        ]
        content = json.dumps({"meta": {"api-version": "1.0"}, "name": folder.name, "files": files}).encode()
        reply(handler, 200, content, {"Content-Type": "application/vnd.pypi.simple.v1+json"})

    def _file(self, handler: BaseHTTPRequestHandler, path: Path) -> None:
        fault = self.faults.pop(0) if self.faults else None
        if callable(fault):
            fault = fault()
        if isinstance(fault, int):
            reply(handler, fault, b"out of order")
            return
        reply_file(handler, path.read_bytes(), cut=int(fault.split()[1]) if fault else None, ranges=self.ranges)


def main() -> None:
    """Serve a folder until interrupted."""
    with Registry(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0) as registry:
        print(registry.url, flush=True)
        registry.thread.join()


if __name__ == "__main__":
    main()
