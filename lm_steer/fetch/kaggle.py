"""Download files of a Kaggle competition with Kaggle's client, which handles logins and resumes transfers.

    path = kaggle_file("jigsaw-unintended-bias-in-toxicity-classification", "all_data.csv")

The client runs as a separate process, because its import alone may call the service. It exits with code 1 whatever went
wrong, so that only its messages distinguish failures.
"""

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from lm_steer.fetch.download import Interrupted, downloads, locked, patiently
from lm_steer.util.errors import LMSteerError
from lm_steer.util.progress import SECONDS_BETWEEN_LINES, say

LOGINS = ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY")
# Patterns of the client's messages, and what to do. Kaggle's own message may replace the status code.
REFUSALS = {
    r"\b401\b|authentication required|unauthenticated": (
        "Kaggle accepts no login from here ({logins}): set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY, to "
        "those of https://www.kaggle.com/settings/api, or run `kaggle auth login`"
    ),
    r"\b403\b|accept this competition's rules|permission '": (
        "Kaggle refuses {file} to this account: join the competition and accept its rules on "
        "https://www.kaggle.com/competitions/{competition}/rules, then run again"
    ),
    r"\b404\b|not found": (
        "Kaggle has no {file} in the competition {competition}: see "
        "https://www.kaggle.com/competitions/{competition}/data for its files"
    ),
}


def kaggle_file(competition: str, file: str) -> Path:
    """Return a file of a competition, or a zip of it, downloading it if needed.

    Raises LMSteerError if Kaggle refuses it or five tries fail; the next run resumes a partial download.
    """
    folder = downloads() / competition
    by_hand = f"or place {file} or {file}.zip in {folder} by hand"
    with locked(folder):
        for path in (folder / file, folder / f"{file}.zip"):
            if path.exists():
                return path
        say(f"download {file} of {competition} with the kaggle client")
        try:
            part = patiently(file, Interrupted)(_download, competition, file, folder / "partial", by_hand)
        except Interrupted as error:
            raise LMSteerError(
                f"{file} could not be downloaded from Kaggle ({error}): wait a few minutes and run again, {by_hand}"
            ) from None
        return part.replace(folder / part.name)


def _download(competition: str, file: str, folder: Path, by_hand: str) -> Path:
    """Run the client once; return the file it wrote to `folder`. Raises LMSteerError if another try is pointless."""
    folder.mkdir(parents=True, exist_ok=True)
    code, output = _run(["-c", competition, "-f", file, "-p", str(folder)], folder)
    if code:
        last = output.strip().split("\n")[-1] or f"the kaggle client exited with code {code}"
        # Line numbers in a traceback must not be taken for status codes.
        message = last if "Traceback" in output else output
        for pattern, sentence in REFUSALS.items():
            if re.search(pattern, message, re.IGNORECASE):
                advice = sentence.format(competition=competition, file=file, logins=_logins())
                raise LMSteerError(f"{advice}; {by_hand}")
        raise Interrupted(last)
    path = next((folder / name for name in (f"{file}.zip", file) if (folder / name).exists()), None)
    if path is None:
        raise Interrupted(f"the kaggle client left no {file}")
    if path.suffix == ".zip" and not zipfile.is_zipfile(path):
        path.unlink()
        raise Interrupted(f"{path.name} is a truncated zip")
    return path


def _run(arguments: list[str], folder: Path) -> tuple[int, str]:
    """Run `kaggle competitions download`, printing its progress; return its exit code and output."""
    command = [sys.executable, "-m", "kaggle", "-W", "competitions", "download", "-q", *arguments]
    with (
        tempfile.TemporaryFile("w+", errors="replace") as output,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        while True:
            try:
                code = process.wait(SECONDS_BETWEEN_LINES)
            except subprocess.TimeoutExpired:
                size = sum(path.stat().st_size for path in folder.iterdir())
                say(f"download from Kaggle: {size / 1e6:.0f} MB so far")
                continue
            output.seek(0)
            return code, output.read()


def _logins() -> str:
    """Return which logins the client could have found, as `found KAGGLE_KEY`."""
    folder = Path(os.environ.get("KAGGLE_CONFIG_DIR") or Path.home() / ".kaggle")
    logins = [name for name in LOGINS if os.environ.get(name)]
    logins += [str(folder / name) for name in ("kaggle.json", "access_token") if (folder / name).exists()]
    return f"found {', '.join(logins) or 'none'}"
