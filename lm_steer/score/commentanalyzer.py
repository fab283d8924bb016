"""Attributes by Google's Perspective API: asked through Google's own client, or replayed from earlier scores.

The service ends on 31 December 2026 and its scores drift: the store keeps when each was made, and they can be passed on
as JSON lines (`lm-steer store export`) to be replayed after it is gone (`--mode replay`). A service that speaks
its JSON is asked in the same way, at its endpoint.
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
# Any other address is that of a stand-in; every further address comes out of the document that is found there.
DISCOVERY = "https://commentanalyzer.googleapis.com/$discovery/rest?version=v1alpha1"
DISCOVERY_VARIABLE = "LM_STEER_PERSPECTIVE_URL"
DROPPED = (OSError, HTTPException, HttpLib2Error)
KEPT = "what has been scored is kept, and the next run goes on from there"
LATER = "raise the quota, or run again when it is renewed"
ANALYZE = "v1alpha1/comments:analyze"
CREATE_KEY = (
    "set GOOGLE_API_KEY to a key for which the Perspective API (commentanalyzer) is enabled, or, for an endpoint, "
    "LM_STEER_ENDPOINT_KEY to one of its own"
)
REPLAY = (
    "replay takes scores from the store alone: import them with `lm-steer store import FILE`, name their file by the "
    "key `scores`, name another version of them by the key `version`, or ask the service with `mode: live`"
)

Ask = Callable[[str], dict[str, Any]]


def perspective(asked: "Perspective") -> Scorer:
    """Return the scorer; the continuation alone is judged.

    Attribute and score are parts of the version of today's answers; the key `version` is that of kept ones, for replay,
    or what answers at the endpoint.
    """
    live, name = asked.mode == "live", asked.yields.upper()
    today = f"{asked.version if asked.endpoint else 'commentanalyzer v1alpha1'} {name} {asked.score}"

    def judge(items: Sequence[Item]) -> Iterator[tuple[int, Answer]]:
        connect = partial(_connect, name, asked.endpoint, asked.queries_per_second)
        return _judge(items, name, asked.score, connect) if live else iter(())

    return Scorer(
        name="endpoint" if asked.endpoint else "perspective",
        version=today if asked.endpoint else asked.version or today,
        attributes=(asked.yields,),
        text=continuation,
        judge=judge,
        advice=AGAIN if live else REPLAY,
    )


def _judge(items: Sequence[Item], name: str, part: str, connect: Callable[[], Ask]) -> Iterator[tuple[int, Answer]]:
    """Ask about one text after another; a text that the service refuses is an error with its reason."""
    if not items:
        return
    ask = connect()
    failures = 0
    for index, item in enumerate(items):
        text = continuation(item)
        size = len(text.encode())
        if size > MAX_BYTES:
            yield index, f"a text of {size} bytes is over the service's limit of {MAX_BYTES}: {text[:40]!r}"
            continue
        try:
            answer = ask(text)
        except (HttpError, *DROPPED) as error:
            failures = failures + 1 if _is_transient(error) else 0
            if failures == GIVE_UP_AFTER:
                raise LMSteerError(
                    f"the service failed on {failures} texts in a row, each asked {TRIES} times "
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
    """Return a function that asks for an attribute of a text, no faster than the quota."""
    service = _at(endpoint) if endpoint else _google()
    wait = paced(per_second)
    asked = {"languages": ["en"], "requestedAttributes": {name: {}}, "spanAnnotations": True, "doNotStore": True}

    def ask(text: str) -> dict[str, Any]:
        wait()
        answer = service.comments().analyze(body={"comment": {"text": text}, **asked}).execute()
        # The client hands back what is no JSON, such as the page of a proxy, as text.
        if not isinstance(answer, dict):
            raise HTTPException(f"not an answer of the service: {str(answer)[:40]!r}")
        return answer

    return lambda text: _patiently(lambda: ask(text))


def _google() -> Any:
    """Return the client of Google's service; raises LMSteerError where it cannot be reached."""
    key = os.environ.get("GOOGLE_API_KEY")
    if not key:
        raise LMSteerError(f"Perspective needs a key: {CREATE_KEY}, or set `mode: replay`")
    address = os.environ.get(DISCOVERY_VARIABLE) or DISCOVERY
    # The client ships no discovery document of this API.
    found = {"discoveryServiceUrl": address, "static_discovery": False, "cache_discovery": False, "num_retries": 0}
    try:
        return _patiently(lambda: build("commentanalyzer", "v1alpha1", developerKey=key, **found))
    except (Error, *DROPPED) as error:
        raise LMSteerError(
            f"Perspective cannot be reached ({_reason(error)}): check the network; once the service has ended, replay "
            f"published scores with `mode: replay`; {KEPT}"
        ) from None


def _at(endpoint: str) -> Any:
    """Return the client of a service that has no discovery document: what is asked of it is known."""
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
    # Google's key is for Google alone.
    return build_from_document(document, developerKey=os.environ.get("LM_STEER_ENDPOINT_KEY"))


def paced(per_second: float) -> Callable[[], None]:
    """Return a function that comes back at most `per_second` times a second; idle time is not saved up."""
    free_at = time.monotonic()

    def wait() -> None:
        nonlocal free_at
        time.sleep(max(0.0, free_at - time.monotonic()))
        free_at = time.monotonic() + 1 / per_second

    return wait


def _patiently(call: Callable[[], Any]) -> Any:
    """Call, and again after a pause where the service is busy; raise LMSteerError where no try can go through."""

    def tell(state: RetryCallState) -> None:
        say(f"{_reason(_error_of(state))}; again in {state.upcoming_sleep:.3g} s")

    again, stop = retry_if_exception(_is_transient), stop_after_attempt(TRIES)
    try:
        return Retrying(retry=again, stop=stop, wait=_pause, before_sleep=tell, reraise=True)(call)
    except HttpError as error:
        if error.resp.status == 429:
            raise LMSteerError(f"the quota of the service is spent ({_reason(error)}): {LATER}; {KEPT}") from None
        # The service answers 400 to a wrong key.
        if error.resp.status in (401, 403) or "API key" in f"{error.reason} {error.error_details}":
            raise LMSteerError(f"the service refuses the key ({_reason(error)}): {CREATE_KEY}; {KEPT}") from None
        raise


def _is_transient(error: BaseException) -> bool:
    """Whether another try may go through: too many requests, a fault of the service, a dropped connection.

    A quota that is spent for longer than it makes sense to wait, as one of a day is, is not.
    """
    if not isinstance(error, HttpError):
        return isinstance(error, DROPPED)
    is_spent = "PerDay" in json.dumps(error.error_details) or (_retry_after(error) or 0) > LONGEST_WAIT
    return error.resp.status >= 500 or (error.resp.status == 429 and not is_spent)


def _pause(state: RetryCallState) -> float:
    """Return the seconds to wait: those that the service asks for, or twice those of the last time."""
    asked = _retry_after(_error_of(state))
    backoff = wait_exponential(multiplier=float(os.environ.get("LM_STEER_RETRY_SECONDS", "1")), max=LONGEST_WAIT)
    return min(LONGEST_WAIT, backoff(state) if asked is None else asked)


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _retry_after(error: BaseException | None) -> float | None:
    """Return the seconds of a Retry-After header; a date is not read."""
    try:
        return max(0.0, float(error.resp["retry-after"])) if isinstance(error, HttpError) else None
    except (KeyError, ValueError):
        return None


def _reason(error: BaseException | None) -> str:
    if isinstance(error, HttpError):
        return f"{error.resp.status} {error.reason.strip()}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
