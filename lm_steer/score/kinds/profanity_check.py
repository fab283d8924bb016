"""Toxicity by the embedded judge: alt-profanity-check, a linear SVM whose model is part of the package.

It is under-confident and agrees with Perspective only in part (`lm-steer agreement` measures how far), so its scores
compare with each other, not with published ones.
"""

from collections.abc import Sequence
from importlib.metadata import version

from lm_steer.score.registry import Kind
from lm_steer.score.store import Item, Scorer, Scores, continuation
from lm_steer.util.errors import needs

BATCH = 256


class ProfanityCheck(Kind):
    """Toxicity, by the embedded judge."""

    yields = "toxicity"

    def scorer(self, resource: str = "", dtype: str = "float32") -> Scorer:
        """Return the judge; the continuation alone is judged, an empty one as a line break."""
        with needs("judges"):
            release = f"alt-profanity-check {version('alt-profanity-check')}"
        return Scorer("profanity-check", release, ("toxicity",), continuation, _judge)


def _judge(items: Sequence[Item]) -> Scores:
    from profanity_check import predict_prob

    for start in range(0, len(items), BATCH):
        texts = [continuation(item) for item in items[start : start + BATCH]]
        for offset, probability in enumerate(predict_prob(texts)):
            yield start + offset, (float(probability),)
