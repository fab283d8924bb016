"""Sequence classifiers of the Hugging Face hub, as a study configures them; classification.py runs them.

lm-steer model --source hub --id s-nlp/roberta_toxicity_classifier -o results/models/toxicity
lm-steer score --kind classifier --option preset=roberta-toxicity --resource results/models/toxicity --file … -o …
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from lm_steer.score.registry import Kind, key
from lm_steer.score.store import Scorer
from lm_steer.util.errors import LMSteerError
from lm_steer.util.words import unknown


@dataclass(frozen=True)
class Preset:
    """A sequence classifier of the Hugging Face hub, and how to read its output.

    label           the class whose probability is the score, as the model's config names it
    activation      softmax over the classes, sigmoid per class, or none (the logit is the score)
    note            what readers of its numbers must know
    revision        the commit; empty if none could be verified
    """

    id: str
    label: str
    activation: str
    attribute: str
    revision: str
    note: str


@cache
def presets() -> dict[str, Preset]:
    """Return the presets by their names."""
    with open(Path(__file__).with_name("classifiers.csv"), encoding="utf-8", newline="") as file:
        return {row.pop("preset"): Preset(**row) for row in csv.DictReader(file)}


class Classifier(Kind):
    """Toxicity, sentiment or another attribute, by any sequence classifier."""

    by_model = True
    folder = "models"
    origins = ("source", "id", "revision")

    preset: str = key(
        "A classifier whose id and labels are known: `roberta-toxicity`, `granite-hap-38m`, `granite-hap-125m`, "
        "`dynabench-hate`, `toxic-bert`, `unbiased-toxic-roberta`, `deberta-perspective` (toxicity) or "
        "`sst2-distilbert` (sentiment).",
        "",
    )
    source: Literal["hub", "folder"] = key("`hub` (Hugging Face) or `folder`.", "hub")
    id: str = key("The hub's `owner/name`, or the path of a folder; by default the preset's.", "")
    revision: str = key("The commit on the hub; required for a preset without one.", "")
    label: str = key("The class whose probability is the score; by default the preset's.", "")
    activation: Literal["", "softmax", "sigmoid", "none"] = key(
        "`softmax`, `sigmoid` (per class) or `none` (the logit is the score); by default the preset's, or softmax.",
        "",
    )
    attribute: str = key(
        "What the score measures, in a word: `toxicity` (of the continuation), `sentiment` or another (of prompt and "
        "continuation); by default the preset's.",
        "",
    )

    @property
    def yields(self) -> str:  # type: ignore[override]
        """The attribute that the score measures."""
        return self._own_or_presets("attribute")

    @property
    def note(self) -> str:  # type: ignore[override]
        """What readers of a preset's numbers must know."""
        return presets()[self.preset].note if self.preset in presets() else ""

    def _own_or_presets(self, name: str) -> str:
        return getattr(self, name) or getattr(presets().get(self.preset), name, "")

    def origin(self) -> dict[str, str]:
        """Return source, id and revision of the classifier, as in a model's config block."""
        preset = presets().get(self.preset)
        identifier = self.id or (preset.id if preset else "")
        pinned = preset.revision if preset and identifier == preset.id and self.source == "hub" else ""
        return {"source": self.source, "id": identifier, "revision": self.revision or pinned}

    def mistakes(self) -> Iterator[str]:
        """Yield an unknown preset, and what is missing to identify the classifier and read its output."""
        if self.preset and self.preset not in presets():
            yield f".preset: {unknown(self.preset, presets(), 'preset')}"
        identifier = self.origin()["id"]
        if not identifier or (self.source == "folder" and not self.id):
            yield ": name the classifier with the key 'preset' or 'id'; the source 'folder' needs its path as 'id'"
        elif self.source == "hub" and identifier.count("/") != 1:
            yield f".id: expected a classifier on the hub as 'owner/name', found '{identifier}'"
        elif self.preset in presets() and self.source == "hub" and not self.id and not self.origin()["revision"]:
            yield (
                f".revision: the preset '{self.preset}' is not pinned to a commit: set one of {identifier} from its "
                "page on the hub"
            )
        if not self.preset and not (self.label and self.attribute):
            yield ": without a preset a classifier needs the keys 'label' and 'attribute'"
        if self.yields == "perplexity":
            yield ".attribute: a classifier cannot yield perplexity: use the kind causal-lm"

    def scorer(self, resource: str = "", dtype: str = "float32") -> Scorer:
        """Load the classifier, in single precision."""
        from lm_steer.score.classification import classifier

        if self.preset and self.preset not in presets():
            raise LMSteerError(f"preset: {unknown(self.preset, presets(), 'preset')}")
        label, activation = self._own_or_presets("label"), self._own_or_presets("activation")
        return classifier(resource, label, activation or "softmax", self.yields)
