"""Attribute scores from Google's Perspective API, requested through Google's client or replayed from the store.

The service ends on 31 December 2026 and its scores drift, so the store records when each was made. `lm-steer store
export` writes them as JSON lines, from which they can be replayed after the service has ended (`mode: replay`). Another
service with the same JSON interface is queried in the same way, at its endpoint.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from lm_steer.score.store import AGAIN, Answer, Item, Scorer, continuation
from lm_steer.util.errors import LMSteerError, needs
from lm_steer.util.progress import say

with needs("perspective"):
    from googleapiclient.discovery import build, build_from_document
    from googleapiclient.errors import Error, HttpError
    from httplib2 import HttpLib2Error
    from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential

if TYPE_CHECKING:
    from lm_steer.score.kinds.perspective import Perspective

MAX_BYTES = 20480
TRIES = 7
LONGEST_WAIT = 120.0
GIVE_UP_AFTER = 3
# The variable may name a stand-in's address; its discovery document names all further ones.
DISCOVERY = "https://commentanalyzer.googleapis.com/$discovery/rest?version=v1alpha1"
DISCOVERY_VARIABLE = "LM_STEER_PERSPECTIVE_URL"
DROPPED = (OSError, HTTPException, HttpLib2Error)
KEPT = "scores so far are kept, and the next run continues from there"
ANALYZE = "v1alpha1/comments:analyze"
CREATE_KEY = (
    "set GOOGLE_API_KEY to a key for which the Perspective API (commentanalyzer) is enabled, or, for another endpoint, "
    "LM_STEER_ENDPOINT_KEY to its key"
)
REPLAY = (
    "replay only uses stored scores: import them with `lm-steer store import FILE`, set `scores` to their file, set "
    "`version` to another version of them, or query the service with `mode: live`"
)

Ask = Callable[[str], dict[str, Any]]


def perspective(options: "Perspective") -> Scorer:
    """Return the scorer, which judges the continuation alone.

    Attribute and score are part of the version of live scores. The key `version` names the model behind the endpoint,
    or without an endpoint the version of stored scores to replay.
    """
    live, name = options.mode == "live", options.yields.upper()
    live_version = f"{options.version if options.endpoint else 'commentanalyzer v1alpha1'} {name} {options.score}"

    def judge(items: Sequence[Item]) -> Iterator[tuple[int, Answer]]:
        connect = partial(_connect, name, options.endpoint, options.queries_per_second)
        return _judge(items, name, options.score, connect) if live else iter(())

    return Scorer(
        name="endpoint" if options.endpoint else "perspective",
        version=live_version if options.endpoint else options.version or live_version,
        attributes=(options.yields,),
        text=continuation,
        judge=judge,
        advice=AGAIN if live else REPLAY,
    )


def _judge(items: Sequence[Item], name: str, part: str, connect: Callable[[], Ask]) -> Iterator[tuple[int, Answer]]:
    """Score the texts one by one; yield the reason instead for a text that the service refuses."""
    if not items:
        return
    ask = connect()
    failures = 0
    for index, item in enumerate(items):
        text = continuation(item)
        size = len(text.encode())
        if size > MAX_BYTES:
            yield index, f"a text of {size} bytes exceeds the service's limit of {MAX_BYTES}: {text[:40]!r}"
            continue
        try:
            answer = ask(text)
        except (HttpError, *DROPPED) as error:
            failures = failures + 1 if _is_transient(error) else 0
            if failures == GIVE_UP_AFTER:
                raise LMSteerError(
                    f"the service failed on {failures} texts in a row, each tried {TRIES} times "
                    f"({_reason(error)}): {KEPT}"
                ) from None
            yield index, f"{_reason(error)}: {text[:40]!r}"
        else:
            failures = 0
            yield index, _score(answer, name, part)


def _score(answer: dict[str, Any], name: str, part: str) -> Answer:
    try:
        scores = answer["attributeScores"][name]
        value = scores["summaryScore"] if part == "summary" else scores["spanScores"][0]["score"]
        return (float(value["value"]),)
    except (KeyError, IndexError, TypeError, ValueError):
        return f"an answer without a {part} score: {json.dumps(answer)[:200]}"


def _connect(name: str, endpoint: str, per_second: float) -> Ask:
    """Return a function that requests an attribute of a text, no faster than the quota."""
    service = _at(endpoint) if endpoint else _google()
    wait = paced(per_second)
    options = {"languages": ["en"], "requestedAttributes": {name: {}}, "spanAnnotations": True, "doNotStore": True}

    def ask(text: str) -> dict[str, Any]:
        wait()
        answer = service.comments().analyze(body={"comment": {"text": text}, **options}).execute()
        # The client returns anything but JSON, such as a proxy's page, as text.
        if not isinstance(answer, dict):
            raise HTTPException(f"expected a JSON object, found {str(answer)[:40]!r}")
        return answer

    return lambda text: _patiently(lambda: ask(text))


def _google() -> Any:
    """Return the client of Google's service; LMSteerError without a key, or if the service cannot be reached."""
    key = os.environ.get("GOOGLE_API_KEY")
    if not key:
        raise LMSteerError(f"Perspective needs a key: {CREATE_KEY}, or set `mode: replay`")
    address = os.environ.get(DISCOVERY_VARIABLE) or DISCOVERY
    # The client ships no discovery document of this API.
    options = {"discoveryServiceUrl": address, "static_discovery": False, "cache_discovery": False, "num_retries": 0}
    try:
        return _patiently(lambda: build("commentanalyzer", "v1alpha1", developerKey=key, **options))
    except (Error, *DROPPED) as error:
        raise LMSteerError(
            f"Perspective cannot be reached ({_reason(error)}): check the network; once the service has ended, replay "
            f"published scores with `mode: replay`; {KEPT}"
        ) from None


def _at(endpoint: str) -> Any:
    """Return the client of a service without a discovery document, from one written here."""
    anything = {"$ref": "Anything"}
    analyze = {"id": "analyze", "path": ANALYZE, "httpMethod": "POST", "request": anything, "response": anything}
    document = {
        "name": "commentanalyzer",
        "version": "v1alpha1",
        "rootUrl": endpoint.rstrip("/").removesuffix(f"/{ANALYZE}") + "/",
        "servicePath": "",
        "parameters": {"key": {"location": "query", "type": "string"}},
        "schemas": {"Anything": {"id": "Anything", "type": "object"}},
        "resources": {"comments": {"methods": {"analyze": analyze}}},
    }
    # Another service must not receive Google's key.
    return build_from_document(document, developerKey=os.environ.get("LM_STEER_ENDPOINT_KEY"))


def paced(per_second: float) -> Callable[[], None]:
    """Return a function that waits until the next of `per_second` calls per second; idle time does not add up."""
    free_at = time.monotonic()

    def wait() -> None:
        nonlocal free_at
        time.sleep(max(0.0, free_at - time.monotonic()))
        free_at = time.monotonic() + 1 / per_second

    return wait


def _patiently(call: Callable[[], Any]) -> Any:
    """Call, with retries while the service is busy; raise LMSteerError if the quota is spent or the key refused."""

    def report(state: RetryCallState) -> None:
        say(f"{_reason(_error_of(state))}; retrying in {state.upcoming_sleep:.3g} s")

    again, stop = retry_if_exception(_is_transient), stop_after_attempt(TRIES)
    try:
        return Retrying(retry=again, stop=stop, wait=_pause, before_sleep=report, reraise=True)(call)
    except HttpError as error:
        if error.resp.status == 429:
            advice = "raise the quota, or run again when it is renewed"
            raise LMSteerError(f"the service's quota is spent ({_reason(error)}): {advice}; {KEPT}") from None
        # The service answers 400 to a wrong key.
        if error.resp.status in (401, 403) or "API key" in f"{error.reason} {error.error_details}":
            raise LMSteerError(f"the service refuses the key ({_reason(error)}): {CREATE_KEY}; {KEPT}") from None
        raise


def _is_transient(error: BaseException) -> bool:
    """Whether a retry may succeed: after too many requests, a server error, or a dropped connection.

    A quota that is spent for longer than LONGEST_WAIT, such as a daily one, is not worth a retry.
    """
    if not isinstance(error, HttpError):
        return isinstance(error, DROPPED)
    is_spent = "PerDay" in json.dumps(error.error_details) or (_retry_after(error) or 0) > LONGEST_WAIT
    return error.resp.status >= 500 or (error.resp.status == 429 and not is_spent)


def _pause(state: RetryCallState) -> float:
    """Return the seconds to wait: what the service asks for, or exponential backoff."""
    retry_after = _retry_after(_error_of(state))
    backoff = wait_exponential(multiplier=float(os.environ.get("LM_STEER_RETRY_SECONDS", "1")), max=LONGEST_WAIT)
    return min(LONGEST_WAIT, backoff(state) if retry_after is None else retry_after)


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _retry_after(error: BaseException | None) -> float | None:
    """Return the seconds of a Retry-After header; None without one, or for a date."""
    try:
        return max(0.0, float(error.resp["retry-after"])) if isinstance(error, HttpError) else None
    except (KeyError, ValueError):
        return None


def _reason(error: BaseException | None) -> str:
    if isinstance(error, HttpError):
        return f"{error.resp.status} {error.reason.strip()}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
