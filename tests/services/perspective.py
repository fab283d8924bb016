"""A stand-in of the Perspective API (commentanalyzer v1alpha1) on the loopback, with faults on demand.

python tests/services/perspective.py [PORT]        # prints the address for LM_STEER_PERSPECTIVE_URL, and the key

Google's client finds every address in the discovery document, so that one address is all there is to set.
"""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

MAX_BYTES = 20480
LANGUAGES = {"en", "de", "es", "fr", "it", "pt"}
RUDE = {"stupid", "idiot", "hate", "fool"}
DISCOVERY = "/$discovery/rest"
ANALYZE = "/v1alpha1/comments:analyze"

Answer = tuple[int, dict[str, Any]]


def toxicity(text: str) -> float:
    """The share of rude words, and a little."""
    words = re.findall(r"\w+", text.lower())
    return round(0.02 + 0.9 * sum(word in RUDE for word in words) / max(1, len(words)), 6)


class Perspective:
    """Answers until the `with` ends.

    faults      taken one a request, first to last: a status code to answer with ("503"), "429 after 2" with the header
                Retry-After, "429 day" for the quota of a day, "drop" the connection, "html" in place of JSON, "empty"
                for an answer without scores, or None
    refuses     texts that are answered with this permanent error, by text: a status code and a message
    requests    the bodies of the requests that came in
    """

    key = "key-of-the-stand-in"

    def __init__(self, port: int = 0) -> None:
        self.faults: list[str | None] = []
        self.refuses: dict[str, tuple[int, str]] = {}
        self.requests: list[dict[str, Any]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())

    @property
    def root(self) -> str:
        """The address that all others begin with."""
        return f"http://127.0.0.1:{self.server.server_port}/"

    @property
    def url(self) -> str:
        """The address of the discovery document."""
        return f"{self.root.rstrip('/')}{DISCOVERY}?version=v1alpha1"

    @property
    def texts(self) -> list[str]:
        """The texts that were asked about."""
        return [request["comment"]["text"] for request in self.requests]

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

    def answer(self, key: str, request: dict[str, Any]) -> Answer:
        """Answer a request as the service does."""
        text, languages = request["comment"].get("text", ""), request.get("languages", [])
        if key != self.key:
            details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
            return error(400, "API key not valid. Please pass a valid API key.", details)
        if text in self.refuses:
            return error(*self.refuses[text])
        if not text:
            return error(400, "Comment must be non-empty.")
        if len(text.encode()) > MAX_BYTES:
            return error(400, "Comment text too long.")
        scores = {}
        for name in request["requestedAttributes"]:
            if not LANGUAGES & set(languages):
                details = [{"errorType": "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"}]
                return error(400, f"Attribute {name} does not support request languages: {languages}", details)
            parts = re.findall(r"[^.!?]+[.!?]*", text) if request.get("spanAnnotations") else [text]
            spans = [{"score": {"value": toxicity(part), "type": "PROBABILITY"}} for part in parts or [text]]
            scores[name] = {"spanScores": spans, "summaryScore": {"value": toxicity(text), "type": "PROBABILITY"}}
        return 200, {"attributeScores": scores, "languages": languages, "detectedLanguages": ["en"]}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if urlsplit(self.path).path == DISCOVERY:
                    self._send(200, json.dumps(discovery(service.root)).encode())
                else:
                    self._send(404, b"{}")

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.requests.append(request)
                fault = service.faults.pop(0) if service.faults else None
                if fault == "drop":
                    self.close_connection = True
                    return
                if fault == "html":
                    self._send(200, b"<!DOCTYPE html>")
                    return
                if fault == "empty":
                    self._send(200, b'{"languages": ["en"]}')
                    return
                if fault:
                    self._fault(fault)
                    return
                address = urlsplit(self.path)
                assert address.path == ANALYZE, address.path
                status, body = service.answer(parse_qs(address.query).get("key", [""])[0], request)
                self._send(status, json.dumps(body).encode())

            def _fault(self, fault: str) -> None:
                code, _, more = fault.partition(" ")
                messages = {"429": "Quota exceeded for quota metric 'Analysis requests (AnalyzeComment)'"}
                limit = "AnalyzeRequestsPer" + ("Day" if more == "day" else "Minute") + "PerProject"
                details = [{"reason": "RATE_LIMIT_EXCEEDED", "metadata": {"quota_limit": limit}}]
                status, body = error(int(code), messages.get(code, "Out of order."), details)
                header = {"Retry-After": more.removeprefix("after ")} if more.startswith("after") else {}
                self._send(status, json.dumps(body).encode(), header)

            def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json; charset=UTF-8")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def error(code: int, message: str, details: list[dict[str, Any]] | None = None) -> Answer:
    """Put an error into the service's form."""
    return code, {"error": {"code": code, "message": message, "details": details or []}}


def discovery(root: str) -> dict[str, Any]:
    """Return the parts of the discovery document that the client reads."""
    query = {"location": "query", "type": "string"}
    analyze = {
        "id": "commentanalyzer.comments.analyze",
        "path": ANALYZE.lstrip("/"),
        "flatPath": ANALYZE.lstrip("/"),
        "httpMethod": "POST",
        "parameters": {},
        "parameterOrder": [],
        "request": {"$ref": "AnalyzeCommentRequest"},
        "response": {"$ref": "AnalyzeCommentResponse"},
    }
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "commentanalyzer:v1alpha1",
        "name": "commentanalyzer",
        "version": "v1alpha1",
        "protocol": "rest",
        "rootUrl": root,
        "servicePath": "",
        "batchPath": "batch",
        "parameters": {"alt": {**query, "default": "json"}, "key": query, "fields": query, "quotaUser": query},
        "schemas": {
            name: {"id": name, "type": "object", "properties": {}}
            for name in ("AnalyzeCommentRequest", "AnalyzeCommentResponse")
        },
        "resources": {"comments": {"methods": {"analyze": analyze}}},
    }


def main() -> None:
    """Serve until interrupted."""
    with Perspective(int(sys.argv[1]) if len(sys.argv) > 1 else 0) as service:
        print(service.url, service.key, flush=True)
        service.thread.join()


if __name__ == "__main__":
    main()
