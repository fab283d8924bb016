"""Toxicity by Google's Perspective API: how it is described in a study. commentanalyzer.py asks it.

export GOOGLE_API_KEY=…
lm-steer score --kind perspective --file results/generations/smollm2/seed0/plain.jsonl -o scores.parquet
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lm_steer.score.registry import Kind, key
from lm_steer.score.store import Scorer
from lm_steer.util.options import QueriesPerSecond


@dataclass(frozen=True)
class Perspective(Kind):
    """Toxicity, by Google's service."""

    attribute = "toxicity"

    mode: Literal["live", "replay"] = key(
        "`live` (asks the service; its key is in GOOGLE_API_KEY) or `replay` (only scores that are kept or named by "
        "`scores`).",
        "live",
    )
    score: Literal["summary", "span"] = key(
        "`summary` (of the whole text) or `span` (of its first sentence, as the original code has it).", "summary"
    )
    queries_per_second: QueriesPerSecond = key("The quota.", 1)
    version: str = key(
        "For `replay`, the version of the scores to take, as `lm-steer store list` has it, where it is not that of "
        "today's answers."
    )

    @property
    def online(self) -> bool:
        """Whether it asks the service."""
        return self.mode == "live"

    def problems(self) -> Iterator[str]:
        """Yield a version of live answers."""
        if self.mode == "live" and self.version:
            yield ".version: the service's answers of today have a version of their own; it is for `mode: replay`"

    def scorer(self, resource: str = "", dtype: str = "float32") -> Scorer:
        """Return the service, or its kept answers."""
        from lm_steer.score.commentanalyzer import perspective

        return perspective(self.mode, self.score, self.queries_per_second, self.version)
