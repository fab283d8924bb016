"""A stand-in of the Perspective API (commentanalyzer v1alpha1) on the loopback, with faults on demand.

PYTHONPATH=tests python -m services.perspective [PORT]        # prints LM_STEER_PERSPECTIVE_URL, and the key

Google's client finds every address in the discovery document, so that one address is all there is to set.
"""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from services.service import Service, reply

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


class Perspective(Service):
    """Answers until the `with` ends.

    faults      taken one a request, first to last: a status code to answer with ("503"), "429 after 2" with the header
                Retry-After, "429 day" for the quota of a day, "drop" the connection, "html" in place of JSON, "empty"
                for an answer without scores, or None
    refuses     texts that are answered with this permanent error, by text: a status code and a message
    requests    the bodies of the requests that came in
    """

    key = "key-of-the-stand-in"

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.faults: list[str | None] = []
        self.refuses: dict[str, tuple[int, str]] = {}
        self.requests: list[dict[str, Any]] = []

    @property
    def root(self) -> str:
        """The address that all others begin with."""
        return f"{self.address}/"

    @property
    def url(self) -> str:
        """The address of the discovery document."""
        return f"{self.address}{DISCOVERY}?version=v1alpha1"

    @property
    def texts(self) -> list[str]:
        """The texts that were asked about."""
        return [request["comment"]["text"] for request in self.requests]

    def scored(self, key: str, request: dict[str, Any]) -> Answer:
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

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        address = urlsplit(handler.path)
        if handler.command == "GET":
            there = address.path == DISCOVERY
            send(handler, 200 if there else 404, discovery(self.root) if there else {})
            return
        request = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        self.requests.append(request)
        fault = self.faults.pop(0) if self.faults else None
        if fault == "html":
            reply(handler, 200, b"<!DOCTYPE html>")
        elif fault == "empty":
            send(handler, 200, {"languages": ["en"]})
        elif fault and fault != "drop":
            code, _, more = fault.partition(" ")
            messages = {"429": "Quota exceeded for quota metric 'Analysis requests (AnalyzeComment)'"}
            limit = "AnalyzeRequestsPer" + ("Day" if more == "day" else "Minute") + "PerProject"
            details = [{"reason": "RATE_LIMIT_EXCEEDED", "metadata": {"quota_limit": limit}}]
            header = {"Retry-After": more.removeprefix("after ")} if more.startswith("after") else {}
            send(handler, *error(int(code), messages.get(code, "Out of order."), details), header)
        elif not fault:
            assert address.path == ANALYZE, address.path
            send(handler, *self.scored(parse_qs(address.query).get("key", [""])[0], request))


def send(
    handler: BaseHTTPRequestHandler, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
) -> None:
    """Answer with JSON."""
    kind = {"Content-Type": "application/json; charset=UTF-8"}
    reply(handler, status, json.dumps(body).encode(), kind | (headers or {}))


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
