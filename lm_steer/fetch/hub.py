"""Call the Hugging Face hub: each error of its client becomes one sentence that says what to do.

    path = hub_file("SetFit/sst5", "train.jsonl", revision, "or …")          # in the hub's own cache

The client itself retries for half a minute and resumes interrupted transfers. Its variables apply: HF_ENDPOINT (a
mirror), HF_HUB_CACHE, HF_TOKEN, HF_HUB_OFFLINE.
"""

from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path

from lm_steer.util.errors import LMSteerError, reason_of


def hub_file(repo: str, file: str, revision: str, by_hand: str, repo_type: str = "dataset") -> Path:
    """Return a file of a repository (dataset or model), downloading it to the hub's cache if needed."""
    from huggingface_hub import hf_hub_download

    def fetch() -> str:
        return hf_hub_download(repo, file, repo_type=repo_type, revision=revision)

    return Path(from_hub(f"{file} of {repo}", revision, by_hand, fetch))


def from_hub(what: str, revision: str, by_hand: str, fetch: Callable[[], str], done: str = "fetched from") -> str:
    """Return fetch(), a call of the hub's client; LMSteerError names `what`, the revision and the way by hand."""
    from huggingface_hub.utils import logging

    # Its warnings print whole addresses, including the password in HF_ENDPOINT.
    logging.set_verbosity_error()
    try:
        return fetch()
    # The transport below the client (httpx, httpx2, xet) raises its own errors, which differ between versions.
    except Exception as error:
        if isinstance(error, OSError) and error.errno == ENOSPC:
            raise
        reason, advice = _explained(error)
    raise LMSteerError(f"{what} at revision {revision} could not be {done} the hub ({reason}): {advice}, {by_hand}")


def _explained(error: Exception) -> tuple[str, str]:
    """Return what the client's error means, and what to do."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    login = "log in with `hf auth login` or HF_TOKEN"
    # Order matters: the first is a subclass of the second.
    known = {
        errors.GatedRepoError: ("its terms are not accepted", f"accept them on its page there and {login}"),
        errors.RepositoryNotFoundError: ("no such repository for this login", f"check the id, or {login}"),
        errors.RevisionNotFoundError: ("no such revision", "check the key revision"),
        errors.RemoteEntryNotFoundError: ("no such file in this revision", "check id and revision"),
        errors.HFValidationError: ("not a valid repository id or revision", "check id and revision"),
        errors.OfflineModeIsEnabled: ("HF_HUB_OFFLINE is set", "unset it"),
    }
    for kind, reason_and_advice in known.items():
        if isinstance(error, kind):
            return reason_and_advice
    if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403):
        return "not allowed for this login", login
    return reason_of(error), "check the network and run again"
