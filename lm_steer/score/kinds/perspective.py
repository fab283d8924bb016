"""Attributes by Google's Perspective API, or a service with its JSON interface, as a study configures them.

export GOOGLE_API_KEY=…
lm-steer score --kind perspective --file results/generations/smollm2/seed0/plain.jsonl -o scores.parquet

commentanalyzer.py queries it.
"""

import re
from collections.abc import Iterator
from typing import Literal

from lm_steer.score.registry import Kind, key
from lm_steer.score.store import Scorer
from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import QueriesPerSecond


class Perspective(Kind):
    """Toxicity or another attribute, by Google's service or one with its JSON interface."""

    attribute: str = key(
        "The attribute to request: `toxicity`, `severe_toxicity`, `insult` or another of the service's; each needs a "
        "scorer of its own.",
        "toxicity",
    )
    mode: Literal["live", "replay"] = key(
        "`live` (query the service, with the key in GOOGLE_API_KEY) or `replay` (use only stored scores and those of "
        "`scores`).",
        "live",
    )
    score: Literal["summary", "span"] = key(
        "`summary` (of the whole text) or `span` (of its first sentence, as in the original code).", "summary"
    )
    queries_per_second: QueriesPerSecond = key("The quota, in queries per second.", 1)
    endpoint: str = key(
        "The address of another service with Perspective's JSON interface, up to `v1alpha1/comments:analyze`; its key, "
        "if it needs one, is read from LM_STEER_ENDPOINT_KEY.",
        "",
    )
    version: str = key(
        "With `endpoint`: the model that answers there and its version, under which scores are stored. Without, for "
        "`replay`: the version of the scores to use, as `lm-steer store list` shows it, if not that of live scores.",
        "",
    )

    @property
    def yields(self) -> str:  # type: ignore[override]
        """The attribute that is requested."""
        return self.attribute.lower()

    @property
    def online(self) -> bool:  # type: ignore[override]
        """Whether it queries the service."""
        return self.mode == "live"

    def mistakes(self) -> Iterator[str]:
        """Yield an invalid attribute or endpoint, an endpoint without a version, and a version for live scores."""
        if not re.fullmatch("[a-z][a-z_]*", self.yields) or self.yields == "perplexity":
            yield f".attribute: expected an attribute of Perspective such as severe_toxicity, found '{self.yields}'"
        if self.endpoint and not re.match("https?://.", self.endpoint):
            yield f".endpoint: expected an address such as http://localhost:8000, found '{self.endpoint}'"
        if self.endpoint and not self.version:
            yield ".version: name the model that answers at the endpoint and its version: scores are stored under it"
        if self.mode == "live" and self.version and not self.endpoint:
            yield ".version: live scores have a version of their own: leave it out, or set `mode: replay`"

    def scorer(self, resource: str = "", dtype: str = "float32") -> Scorer:
        """Return the scorer, which queries the service or replays stored scores."""
        from lm_steer.score.commentanalyzer import perspective

        for mistake in self.mistakes():
            raise LMSteerError(f"perspective{mistake}")
        return perspective(self)
