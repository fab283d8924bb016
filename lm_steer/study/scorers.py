"""The judges of texts. Each kind is a block with the keys that it alone has; score/ knows what they measure."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from lm_steer.score.kinds import ATTRIBUTES, PRESETS, measure_of, model_of
from lm_steer.study.fields import Block, DatasetName, ModelName, key
from lm_steer.study.messages import unknown
from lm_steer.util.options import Count, QueriesPerSecond

if TYPE_CHECKING:
    from lm_steer.study.config import Study


class _Scorer(Block):
    prompts: Count = key("How many prompts of each setting are scored, the first ones; 0 for all.", 0)
    scores: str = key(
        "A file of earlier scores, JSON lines of `lm-steer store export`; what it has is not judged again.", ""
    )

    @property
    def measure(self) -> str:
        """What it measures: toxicity, sentiment or perplexity."""
        return measure_of(self.model_dump())


class ProfanityCheck(_Scorer):
    """Toxicity, embedded."""

    kind: Literal["profanity-check"]


class BagOfWords(_Scorer):
    """Sentiment, trained at run time."""

    kind: Literal["bag-of-words"]
    held_out: DatasetName = key("The dataset whose dev texts measure its accuracy.")


class CausalLM(_Scorer):
    """Perplexity."""

    kind: Literal["causal-lm"]
    model: ModelName = key("The name of the judging model.")


class Perspective(_Scorer):
    """Toxicity, by Google's service."""

    kind: Literal["perspective"]
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
        "today's answers.",
        "",
    )

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield a version of live answers."""
        if self.mode == "live" and self.version:
            yield ".version: the service's answers of today have a version of their own; it is for `mode: replay`"


class Classifier(_Scorer):
    """Toxicity or sentiment, by any sequence classifier."""

    kind: Literal["classifier"]
    preset: str = key(
        "One whose id and labels are known: `unbiased-toxic-roberta`, `roberta-toxicity`, `deberta-perspective` "
        "(toxicity) or `sst2-distilbert` (sentiment).",
        "",
    )
    source: Literal["hub", "folder"] = key("`hub` (Hugging Face) or `folder`.", "hub")
    id: str = key("The hub's `owner/name`, or the path of a folder; empty is the preset's.", "")
    revision: str = key("The commit of a model of the hub.", "")
    label: str = key("The class whose probability is the score; empty is the preset's.", "")
    activation: Literal["", "softmax", "sigmoid", "none"] = key(
        "`softmax`, `sigmoid` (classes by themselves) or `none` (the number is the score); empty is the preset's, or "
        "softmax.",
        "",
    )
    measures: str = key(
        "`toxicity` (of the continuation) or `sentiment` (of prompt and continuation); empty is the preset's.", ""
    )

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield a preset or measure that is unknown, and what is missing to know a classifier and read its answer."""
        for name, known, what in (("preset", PRESETS, "preset"), ("measures", ATTRIBUTES, "measure of classifiers")):
            if getattr(self, name) and getattr(self, name) not in known:
                yield f".{name}: {unknown(getattr(self, name), known, what)}"
        identifier = model_of(self.model_dump())["id"]
        if not identifier or (self.source == "folder" and not self.id):
            yield ": name the classifier by the key 'preset' or 'id'; the source 'folder' needs 'id', its path"
        elif self.source == "hub" and identifier.count("/") != 1:
            yield f".id: a classifier of the hub is 'owner/name', found '{identifier}'"
        if not self.preset and not (self.label and self.measures):
            yield ": without a preset a classifier needs the keys 'label' and 'measures'"


Scorer = Annotated[ProfanityCheck | BagOfWords | CausalLM | Perspective | Classifier, Field(discriminator="kind")]
