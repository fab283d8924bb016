"""A stand-in of Kaggle that the real `kaggle` client (2.2.4) downloads one file of a competition from.

POST /api/v1/security.OAuthService/IntrospectToken            at the client's import, if it has a token
POST /api/v1/competitions.CompetitionApiService/DownloadDataFile
     {"competitionName": …, "fileName": …} → 302 to the storage, where large files lie as zips
GET  <storage>/FILE.zip                                       with Content-Length, ETag, Accept-Ranges

The client knows no endpoint setting, only KAGGLE_API_ENVIRONMENT=LOCALHOST, which is http://localhost; `variables()`
adds a proxy, so that the requests come here. The bodies of the errors are a model: none of the real ones was seen.
"""

import base64
import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

from services.service import Service, reply, reply_file

API = "/api/v1/"
STORAGE = "/storage/"
RULES = "You must accept this competition's rules before you'll be able to download files."
USER, KEY, TOKEN = "tester", "0123456789abcdef", "KGAT_token"


class Kaggle(Service):
    """Serves {competition: {file name: the local file that stands for it}} until the `with` ends.

    closed      competitions whose rules are not accepted
    messages    whether errors carry Kaggle's own message where the client shows it instead of the status
    statuses    taken one a request for a download: a status to answer with
    cuts        taken one a transfer: drop the connection after so many bytes
    truncated   taken one a transfer: serve so many bytes as if they were the whole
    requests    what was asked so far: (path, status)
    starts      at which byte each transfer began
    """

    def __init__(self, competitions: dict[str, dict[str, Path]]) -> None:
        super().__init__()
        self.competitions = competitions
        self.closed: set[str] = set()
        self.messages = False
        self.statuses: list[int] = []
        self.cuts: list[int] = []
        self.truncated: list[int] = []
        self.requests: list[tuple[str, int]] = []
        self.starts: list[int] = []

    def variables(self, folder: Path) -> dict[str, str]:
        """Environment variables that send the client here, logged in by name and key."""
        return {
            "KAGGLE_USERNAME": USER,
            "KAGGLE_KEY": KEY,
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "KAGGLE_CONFIG_DIR": str(folder),
            # ~/.kaggle/access_token would win over the variables.
            "HOME": str(folder),
            "http_proxy": self.address,
            "no_proxy": "",
            "NO_PROXY": "",
        }

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = urlsplit(handler.path).path  # a proxy is asked for the whole address
        if handler.command == "GET":
            self._file(handler, path)
            return
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])) or b"{}")
        if path == f"{API}security.OAuthService/IntrospectToken":
            active = body.get("token") == TOKEN
            content = json.dumps({"active": active, "username": USER if active else ""}).encode()
            reply(handler, 200, content, {"Content-Type": "application/json"})
        elif path == f"{API}competitions.CompetitionApiService/DownloadDataFile":
            self._download(handler, path, body["competitionName"], body["fileName"])
        else:
            self._fail(handler, path, 404, "Not found")

    def _download(self, handler: BaseHTTPRequestHandler, path: str, competition: str, file: str) -> None:
        basic = base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        if handler.headers.get("Authorization") not in (f"Basic {basic}", f"Bearer {TOKEN}"):
            self._fail(handler, path, 401, "Unauthenticated")
        elif self.statuses:
            self._fail(handler, path, self.statuses.pop(0), "Out of order")
        elif competition in self.closed:
            self._fail(handler, path, 403, RULES)
        elif file not in self.competitions.get(competition, {}):
            self._fail(handler, path, 404, "Not found")
        else:
            self.requests.append((path, 302))
            stored = self.competitions[competition][file].name
            place = f"http://{handler.headers['Host']}{STORAGE}{competition}/{stored}?X-Goog-Signature=x"
            reply(handler, 302, headers={"Location": place})

    def _file(self, handler: BaseHTTPRequestHandler, path: str) -> None:
        self.requests.append((path, 200))
        self.starts.append(int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0]))
        competition, name = path.removeprefix(STORAGE).split("/")
        stored = next(file for file in self.competitions[competition].values() if file.name == name)
        content = stored.read_bytes()[: self.truncated.pop(0) if self.truncated else None]
        headers = {
            "Content-Type": "application/zip",
            "Accept-Ranges": "bytes",
            "ETag": f'"{len(content):x}"',
            "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
        }
        reply_file(handler, content, headers, self.cuts.pop(0) if self.cuts else None)

    def _fail(self, handler: BaseHTTPRequestHandler, path: str, status: int, message: str) -> None:
        self.requests.append((path, status))
        error = {"code": status, "message": message}
        content = json.dumps(error if self.messages else {"error": error}).encode()
        reply(handler, status, content, {"Content-Type": "application/json"})
