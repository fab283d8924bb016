"""A stand-in of a package registry (the JSON index of PEP 691) on the loopback, with faults on demand.

python tests/services/registry.py FOLDER [PORT]        # serves FOLDER/PROJECT/FILE, prints its PIP_INDEX_URL
"""

import hashlib
import json
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self


class Registry:
    """Serves FOLDER/PROJECT/FILE until the `with` ends.

    faults      taken one a request for a file, first to last: a status code to answer with, "cut N" to drop the
                connection after N bytes, None, or a function that is called then and returns one of these
    ranges      whether parts of a file are served
    json        whether the index is JSON; an older registry knows HTML alone
    requests    what was asked so far: (path, Range header or None)
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.faults: list[int | str | Callable[[], int | str | None] | None] = []
        self.ranges = True
        self.json = True
        self.requests: list[tuple[str, str | None]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())

    @property
    def url(self) -> str:
        """The address to give as PIP_INDEX_URL."""
        return f"http://127.0.0.1:{self.server.server_port}/simple"

    def __enter__(self) -> Self:
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def file_requests(self) -> list[str | None]:
        """The Range headers of the requests for files."""
        return [asked for path, asked in self.requests if path.startswith("/files/")]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.requests.append((self.path, self.headers.get("Range")))
                kind, *rest = self.path.strip("/").split("/")
                path = registry.folder.joinpath(*rest)
                if not path.exists():
                    self._answer(404, b"there is nothing here")
                elif kind == "files":
                    self._file(path)
                elif registry.json:
                    self._index(path)
                else:
                    self._answer(200, b"<!DOCTYPE html>", {"Content-Type": "text/html"})

            def _index(self, folder: Path) -> None:
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
                self._answer(200, content, {"Content-Type": "application/vnd.pypi.simple.v1+json"})

            def _file(self, path: Path) -> None:
                fault = registry.faults.pop(0) if registry.faults else None
                if callable(fault):
                    fault = fault()
                if isinstance(fault, int):
                    self._answer(fault, b"out of order")
                    return
                content, status, headers = path.read_bytes(), 200, {}
                asked = self.headers.get("Range")
                if asked and registry.ranges:
                    start = int(asked.removeprefix("bytes=").rstrip("-"))
                    if start >= len(content):
                        self._answer(416, b"")
                        return
                    headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                    content, status = content[start:], 206
                self._answer(status, content, headers, int(fault.split()[1]) if fault else None)

            def _answer(
                self, status: int, content: bytes, headers: dict[str, str] | None = None, cut: int | None = None
            ) -> None:
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[:cut])
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def main() -> None:
    """Serve a folder until interrupted."""
    with Registry(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0) as registry:
        print(registry.url, flush=True)
        registry.thread.join()


if __name__ == "__main__":
    main()
