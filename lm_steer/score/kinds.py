"""What is known of each kind of scorer before it runs: what it measures, and which classifiers have a name here.

    measure_of({"kind": "classifier", "preset": "sst2-distilbert"})     # "sentiment"

The measure decides two things: which metrics a table shows, and whether the prompt is judged with its continuation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KINDS = ("profanity-check", "bag-of-words", "causal-lm", "perspective", "classifier")
# Kinds that are models of torch's: they take a GPU where there is one.
BY_MODEL = ("causal-lm", "classifier")
MEASURE_OF_KIND = {
    "profanity-check": "toxicity",
    "bag-of-words": "sentiment",
    "causal-lm": "perplexity",
    "perspective": "toxicity",
}
ATTRIBUTES = {"toxicity": "toxicity", "sentiment": "positive"}
ACTIVATIONS = ("softmax", "sigmoid", "none")
# The keys of a scorer's config block that its kind alone knows.
OPTIONS = {
    "perspective": ("mode", "score", "queries_per_second", "version"),
    "classifier": ("preset", "label", "activation", "measures"),
}


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
    measures: str
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
        "Trained on the Jigsaw data of 2018 to 2020, those of the paper's toxicity steer among them.",
        "048c25bb1e199b98802784f96325f4840f22145d",
    ),
    "deberta-perspective": Preset(
        "cooperleong00/deberta-v3-large_toxicity-scorer",
        "LABEL_1",
        "softmax",
        "toxicity",
        "Fitted to the Perspective scores of 90,000 RealToxicityPrompts texts.",
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


def measure_of(scorer: Mapping[str, Any]) -> str:
    """Return what the scorer of a config block measures: toxicity, sentiment or perplexity; "" if it does not say."""
    preset = PRESETS.get(scorer.get("preset", ""))
    return MEASURE_OF_KIND.get(scorer["kind"]) or scorer.get("measures") or (preset.measures if preset else "")


def model_of(scorer: Mapping[str, Any]) -> dict[str, str]:
    """Return source, id and revision of a classifier, as a model's config block has them."""
    preset = PRESETS.get(scorer["preset"])
    identifier = scorer["id"] or (preset.id if preset else "")
    pinned = preset.revision if preset and identifier == preset.id and scorer["source"] == "hub" else ""
    return {"source": scorer["source"], "id": identifier, "revision": scorer["revision"] or pinned}


def note_of(scorer: Mapping[str, Any]) -> str:
    """Return what a reader must know of a scorer's numbers, or nothing."""
    preset = PRESETS.get(scorer.get("preset", ""))
    return preset.note if preset else ""
