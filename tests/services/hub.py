"""A stand-in of the Hugging Face hub that the real `huggingface_hub` client downloads from.

HEAD, GET /[datasets/]OWNER/NAME/resolve/REVISION/FILE
GET       /api/{models,datasets}/OWNER/NAME/{revision,tree}/REVISION

It serves FOLDER/[datasets/]OWNER/NAME/FILE. Give its `address` as HF_ENDPOINT before the client is imported.
"""

import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

from services.service import Service, reply, reply_file

COMMIT = "a" * 40
FILE = re.compile(r"/(?P<repo>(?:datasets/)?[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
LISTING = re.compile(
    r"/api/(?P<kind>models|datasets)/(?P<repo>[^/]+/[^/]+)/(?P<what>revision|tree)/(?P<revision>[^/]+)"
)


class Hub(Service):
    """Serves a folder of repositories until the `with` ends.

    revisions   the revisions there are
    gated       repositories whose terms are not accepted
    statuses    taken one a request: a status to answer with
    cuts        taken one a transfer: drop the connection after so many bytes
    requests    what was asked so far: (method, path)
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.revisions = {"main", COMMIT}
        self.gated: set[str] = set()
        self.statuses: list[int] = []
        self.cuts: list[int] = []
        self.requests: list[tuple[str, str]] = []

    @property
    def transfers(self) -> int:
        """How many times a file was sent, or a part of one."""
        return sum(method == "GET" and "/resolve/" in path for method, path in self.requests)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(handler.path).path)
        self.requests.append((handler.command, path))
        if self.statuses:
            reply(handler, self.statuses.pop(0))
        elif match := FILE.fullmatch(path):
            self._file(handler, **match.groupdict())
        elif match := LISTING.fullmatch(path):
            self._listing(handler, **match.groupdict())
        else:
            self._fail(handler, 404, "RepoNotFound")

    def _missing(self, handler: BaseHTTPRequestHandler, repo: str, revision: str) -> bool:
        """Answer for a repository that is not there for this client; return whether that was so."""
        if not (self.folder / repo).exists():
            self._fail(handler, 404, "RepoNotFound")
        elif repo in self.gated:
            self._fail(handler, 403, "GatedRepo")
        elif revision not in self.revisions:
            self._fail(handler, 404, "RevisionNotFound")
        else:
            return False
        return True

    def _file(self, handler: BaseHTTPRequestHandler, repo: str, revision: str, file: str) -> None:
        if self._missing(handler, repo, revision):
            return
        path = self.folder / repo / file
        if not path.exists():
            self._fail(handler, 404, "EntryNotFound")
            return
        content = path.read_bytes()
        headers = {
            "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
            "X-Repo-Commit": self._commit(revision),
            "Accept-Ranges": "bytes",
        }
        cut = self.cuts.pop(0) if self.cuts and handler.command == "GET" else None
        reply_file(handler, content, headers, cut)

    def _listing(self, handler: BaseHTTPRequestHandler, kind: str, repo: str, what: str, revision: str) -> None:
        stored = repo if kind == "models" else f"datasets/{repo}"
        if self._missing(handler, stored, revision):
            return
        folder = self.folder / stored
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        if what == "revision":
            siblings = [{"rfilename": str(path.relative_to(folder))} for path in files]
            answer: object = {"id": repo, "sha": self._commit(revision), "siblings": siblings}
        else:
            answer = [
                {
                    "type": "file",
                    "path": str(path.relative_to(folder)),
                    "size": path.stat().st_size,
                    "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
                }
                for path in files
            ]
        reply(handler, 200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _fail(self, handler: BaseHTTPRequestHandler, status: int, code: str) -> None:
        reply(handler, status, headers={"X-Error-Code": code, "X-Error-Message": code})

    def _commit(self, revision: str) -> str:
        """A branch stands for COMMIT; a commit for itself."""
        return COMMIT if revision == "main" else revision
