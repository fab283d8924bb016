"""What the stand-ins of remote services share: a server on the loopback that lives as long as a `with`."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Self


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up on a file it has already is no error."""


class Service:
    """Answers by `self.answer(handler)` for each GET, HEAD, POST and PUT, until the `with` ends."""

    def __init__(self, port: int = 0) -> None:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.answer(self)

            do_HEAD = do_POST = do_PUT = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = Server(("127.0.0.1", port), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

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

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        raise NotImplementedError


def reply(
    handler: BaseHTTPRequestHandler,
    status: int,
    content: bytes = b"",
    headers: dict[str, str] | None = None,
    cut: int | None = None,
) -> None:
    """Send an answer; with `cut`, drop the connection after that many bytes of it."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(content[:cut])
    handler.close_connection = True


def reply_file(
    handler: BaseHTTPRequestHandler,
    content: bytes,
    headers: dict[str, str] | None = None,
    cut: int | None = None,
    ranges: bool = True,
) -> None:
    """Send a file, or the part of it that was asked for."""
    headers = dict(headers or {})
    asked = handler.headers.get("Range")
    if not asked or not ranges:
        reply(handler, 200, content, headers, cut)
        return
    start = int(asked.removeprefix("bytes=").split("-")[0])
    if start >= len(content):
        reply(handler, 416)
        return
    headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    reply(handler, 206, content[start:], headers, cut)
