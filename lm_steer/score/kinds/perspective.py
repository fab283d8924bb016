"""Attributes by Google's Perspective API, or a service that speaks its JSON: how one is described in a study.

export GOOGLE_API_KEY=…
lm-steer score --kind perspective --file results/generations/smollm2/seed0/plain.jsonl -o scores.parquet

commentanalyzer.py asks it.
"""

import re
from collections.abc import Iterator
from typing import Literal

from lm_steer.score.registry import Kind, key
from lm_steer.score.store import Scorer
from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import QueriesPerSecond


class Perspective(Kind):
    """Toxicity or another attribute, by Google's service or one that speaks its JSON."""

    attribute: str = key(
        "What the service is asked for: `toxicity`, `severe_toxicity`, `insult` or another of its attributes; of "
        "several, each is a scorer.",
        "toxicity",
    )
    mode: Literal["live", "replay"] = key(
        "`live` (asks the service; its key is in GOOGLE_API_KEY) or `replay` (only scores that are kept or named by "
        "`scores`).",
        "live",
    )
    score: Literal["summary", "span"] = key(
        "`summary` (of the whole text) or `span` (of its first sentence, as the original code has it).", "summary"
    )
    queries_per_second: QueriesPerSecond = key("The quota.", 1)
    endpoint: str = key(
        "The address of another service that speaks Perspective's JSON, up to `v1alpha1/comments:analyze`; its key, if "
        "it wants one, is in LM_STEER_ENDPOINT_KEY.",
        "",
    )
    version: str = key(
        "With `endpoint`, the model that answers there and its version, which its scores are kept under. Without, for "
        "`replay`: the version of the scores to take, as `lm-steer store list` has it, where it is not that of today's "
        "answers.",
        "",
    )

    @property
    def yields(self) -> str:  # type: ignore[override]
        """The attribute that the service is asked for."""
        return self.attribute.lower()

    @property
    def online(self) -> bool:  # type: ignore[override]
        """Whether it asks the service."""
        return self.mode == "live"

    def mistakes(self) -> Iterator[str]:
        """Yield an attribute that no service has, an endpoint without a version, and a version of live answers."""
        if not re.fullmatch("[a-z][a-z_]*", self.yields) or self.yields == "perplexity":
            yield f".attribute: expected an attribute of Perspective's, as severe_toxicity, found '{self.yields}'"
        if self.endpoint and not re.match("https?://.", self.endpoint):
            yield f".endpoint: expected an address, as http://localhost:8000, found '{self.endpoint}'"
        if self.endpoint and not self.version:
            yield ".version: name the model that answers at the endpoint, and its version: its scores are kept under it"
        if self.mode == "live" and self.version and not self.endpoint:
            yield ".version: the service's answers of today have a version of their own; it is for `mode: replay`"

    def scorer(self, resource: str = "", dtype: str = "float32") -> Scorer:
        """Return the service, or its kept answers."""
        from lm_steer.score.commentanalyzer import perspective

        for mistake in self.mistakes():
            raise LMSteerError(f"perspective{mistake}")
        return perspective(self)
