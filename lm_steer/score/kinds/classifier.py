"""Sequence classifiers of the Hugging Face hub: how one is described in a study. classification.py runs it.

lm-steer model --source hub --id s-nlp/roberta_toxicity_classifier -o results/models/toxicity
lm-steer score --kind classifier --option preset=roberta-toxicity --resource results/models/toxicity --file … -o …
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lm_steer.score.registry import Kind, key
from lm_steer.score.store import Scorer
from lm_steer.util.errors import LMSteerError
from lm_steer.util.words import unknown


@dataclass(frozen=True)
class Preset:
    """A sequence classifier of the Hugging Face hub and how its answer is read.

    label           the class whose probability is the score, as the model's config names it
    activation      softmax over the classes, sigmoid for each by itself, or none (the model's number is the score)
    note            what a reader of its numbers must know
    revision        the commit; empty where none could be verified
    """

    id: str
    label: str
    activation: str
    attribute: str
    note: str = ""
    revision: str = ""


PRESETS = {
    "unbiased-toxic-roberta": Preset(
        "unitary/unbiased-toxic-roberta",
        "toxicity",
        "sigmoid",
        "toxicity",
        "Detoxify's; trained on Jigsaw Unintended Bias, as the paper's toxicity steer is: no independent judge of it.",
    ),
    "roberta-toxicity": Preset(
        "s-nlp/roberta_toxicity_classifier",
        "toxic",
        "softmax",
        "toxicity",
        "A detector of garak's; trained on the Jigsaw data of 2018 to 2020, those of the paper's toxicity steer among "
        "them.",
        "048c25bb1e199b98802784f96325f4840f22145d",
    ),
    "deberta-perspective": Preset(
        "cooperleong00/deberta-v3-large_toxicity-scorer",
        "LABEL_1",
        "softmax",
        "toxicity",
        "Fitted to the Perspective scores of 90,000 RealToxicityPrompts texts.",
    ),
    "toxic-bert": Preset(
        "unitary/toxic-bert",
        "toxic",
        "sigmoid",
        "toxicity",
        "Detoxify's original; trained on the Jigsaw comments of 2018.",
    ),
    "granite-hap-38m": Preset(
        "ibm-granite/granite-guardian-hap-38m",
        "LABEL_1",
        "softmax",
        "toxicity",
        "Hate, abuse and profanity; trained on several public benchmarks, which its card does not name.",
        "faf9291163c7363d4a7ba7fc1dc72243214af931",
    ),
    "granite-hap-125m": Preset(
        "ibm-granite/granite-guardian-hap-125m",
        "LABEL_1",
        "softmax",
        "toxicity",
        "Hate, abuse and profanity; the larger one of granite-hap-38m.",
    ),
    "dynabench-hate": Preset(
        "facebook/roberta-hate-speech-dynabench-r4-target",
        "hate",
        "softmax",
        "toxicity",
        "Hate speech against groups alone, from Dynabench; the default of toxicity in Hugging Face's evaluate.",
    ),
    "sst2-distilbert": Preset(
        "distilbert/distilbert-base-uncased-finetuned-sst-2-english",
        "POSITIVE",
        "softmax",
        "sentiment",
        "The paper's judge of sentiment, trained on SST-2, whose sentences are those of SST-5.",
        "714eb0fa89d2f80546fda750413ed43d93601a13",
    ),
}


@dataclass(frozen=True)
class Classifier(Kind):
    """Toxicity, sentiment, or an attribute of your own, by any sequence classifier."""

    by_model = True
    folder = "models"

    preset: str = key(
        "One whose id and labels are known: `roberta-toxicity`, `granite-hap-38m`, `granite-hap-125m`, "
        "`dynabench-hate`, `toxic-bert`, `unbiased-toxic-roberta`, `deberta-perspective` (toxicity) or "
        "`sst2-distilbert` (sentiment)."
    )
    source: Literal["hub", "folder"] = key("`hub` (Hugging Face) or `folder`.", "hub", obtains=True)
    id: str = key("The hub's `owner/name`, or the path of a folder; empty is the preset's.", obtains=True)
    revision: str = key("The commit of a model of the hub; a preset without one needs it.", obtains=True)
    label: str = key("The class whose probability is the score; empty is the preset's.")
    activation: Literal["", "softmax", "sigmoid", "none"] = key(
        "`softmax`, `sigmoid` (classes by themselves) or `none` (the number is the score); empty is the preset's, or "
        "softmax."
    )
    # Of each classifier, where other kinds have one for all.
    attribute: str = key(  # type: ignore[misc]
        "What the score is of, in a word: `toxicity` (of the continuation), `sentiment` or another (of prompt and "
        "continuation); empty is the preset's."
    )

    def __post_init__(self) -> None:
        if preset := PRESETS.get(self.preset):
            for name in ("label", "activation", "attribute"):
                object.__setattr__(self, name, getattr(self, name) or getattr(preset, name))

    @property
    def note(self) -> str:
        """What a reader of a preset's numbers must know."""
        return PRESETS[self.preset].note if self.preset in PRESETS else ""

    def origin(self) -> dict[str, str]:
        """Return source, id and revision of the classifier, as a model's config block has them."""
        preset = PRESETS.get(self.preset)
        identifier = self.id or (preset.id if preset else "")
        pinned = preset.revision if preset and identifier == preset.id and self.source == "hub" else ""
        return {"source": self.source, "id": identifier, "revision": self.revision or pinned}

    def problems(self) -> Iterator[str]:
        """Yield a preset that is unknown, and what is missing to know a classifier and read its answer."""
        if self.preset and self.preset not in PRESETS:
            yield f".preset: {unknown(self.preset, PRESETS, 'preset')}"
        identifier = self.origin()["id"]
        if not identifier or (self.source == "folder" and not self.id):
            yield ": name the classifier by the key 'preset' or 'id'; the source 'folder' needs 'id', its path"
        elif self.source == "hub" and identifier.count("/") != 1:
            yield f".id: a classifier of the hub is 'owner/name', found '{identifier}'"
        elif self.preset in PRESETS and self.source == "hub" and not self.id and not self.origin()["revision"]:
            yield (
                f".revision: the preset '{self.preset}' is pinned to no commit: name the one of {identifier} that "
                "you take, as its page on the hub lists it"
            )
        if not self.preset and not (self.label and self.attribute):
            yield ": without a preset a classifier needs the keys 'label' and 'attribute'"
        if self.attribute == "perplexity":
            yield ".attribute: no classifier yields perplexity: it is of the kind causal-lm"

    def scorer(self, resource: str = "", dtype: str = "float32") -> Scorer:
        """Load the classifier, in single precision."""
        from lm_steer.score.classification import classifier

        if self.preset and self.preset not in PRESETS:
            raise LMSteerError(f"preset: {unknown(self.preset, PRESETS, 'preset')}")
        return classifier(resource, self.label, self.activation or "softmax", self.attribute)
