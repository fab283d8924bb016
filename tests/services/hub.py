"""A stand-in of the Hugging Face hub that the real `huggingface_hub` client downloads from and uploads to.

HEAD, GET /[datasets/]OWNER/NAME/resolve/REVISION/FILE
GET       /api/{models,datasets}/OWNER/NAME/{revision,tree}/REVISION
POST      /api/repos/create, /api/validate-yaml
POST      /api/models/OWNER/NAME/{preupload,commit}/main, /OWNER/NAME.git/info/lfs/objects/batch
PUT       /lfs/SHA256

It serves FOLDER/[datasets/]OWNER/NAME/FILE; what is written needs a login, any will do. Weights go by LFS, other files
with the commit; the newer protocol (xet) is not spoken here: set HF_HUB_DISABLE_XET. Give its `address` as
HF_ENDPOINT before the client is imported.
"""

import base64
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
# Folders inside a repository, of which there are none here.
INNER = re.compile(LISTING.pattern + r"/.+")
WRITING = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/(?P<what>preupload|commit)/main")
BATCH = re.compile(r"/[^/]+/[^/]+\.git/info/lfs/objects/batch")


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
        self.uploads: dict[str, bytes] = {}

    @property
    def transfers(self) -> int:
        """How many times a file was sent, or a part of one."""
        return sum(method == "GET" and "/resolve/" in path for method, path in self.requests)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(handler.path).path)
        if path == "/api/agent-harnesses":
            # What the client asks once a day of its own accord, before anything else, is no request of a test.
            reply(handler, 404)
            return
        self.requests.append((handler.command, path))
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        if self.statuses:
            reply(handler, self.statuses.pop(0))
        elif handler.command == "PUT":
            self.uploads[path.removeprefix("/lfs/")] = body
            reply(handler, 200)
        elif handler.command == "POST" and "Authorization" not in handler.headers:
            reply(handler, 401)
        elif handler.command == "POST":
            self._write(handler, path, body)
        elif match := FILE.fullmatch(path):
            self._file(handler, **match.groupdict())
        elif match := LISTING.fullmatch(path):
            self._listing(handler, **match.groupdict())
        elif INNER.fullmatch(path):
            self._fail(handler, 404, "EntryNotFound")
        else:
            self._fail(handler, 404, "RepoNotFound")

    def _write(self, handler: BaseHTTPRequestHandler, path: str, body: bytes) -> None:
        """Answer one step of an upload."""
        answer: dict[str, object] = {}
        match = WRITING.fullmatch(path)
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            (self.folder / repo).mkdir(parents=True, exist_ok=True)
            answer = {"url": f"{self.address}/{repo}", "name": repo}
        elif BATCH.fullmatch(path):
            answer["objects"] = [
                {**asked, "actions": {"upload": {"href": f"{self.address}/lfs/{asked['oid']}"}}}
                for asked in json.loads(body)["objects"]
            ]
        elif match and match["what"] == "preupload":
            answer["files"] = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
        elif match:
            self._commit_files(self.folder / match["repo"], [json.loads(line) for line in body.splitlines()])
            answer = {"commitUrl": f"{self.address}/{match['repo']}/commit/{COMMIT}", "commitOid": COMMIT}
        reply(handler, 200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _commit_files(self, folder: Path, operations: list[dict]) -> None:
        for operation in operations:
            key, value = operation["key"], operation["value"]
            if key == "file":
                (folder / value["path"]).write_bytes(base64.b64decode(value["content"]))
            elif key == "lfsFile":
                (folder / value["path"]).write_bytes(self.uploads.pop(value["oid"]))

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
