"""Families of settings that differ in one steer value alone: what the page's dials and curves are drawn over.

    families(study)         # [Family("sentiment", "sentiment", "neutral", {"corpus": 1.0}, {-5.0: "negative", …}), …]

A family is found in the study, however its settings are called. Where all other dimensions are at 0, its value 0 is the
unsteered setting.
"""

from dataclasses import dataclass
from typing import Any

from lm_steer.report.wording import value_text
from lm_steer.study.config import Study
from lm_steer.util.words import CORPUS

Values = dict[tuple[str, str], float]
FEWEST = 3


@dataclass(frozen=True)
class Family:
    """One dimension of a steer over its values, ascending, each with its setting; `others` stand still."""

    steer: str
    dimension: str
    prompts: str
    others: Values
    settings: dict[float, str]
    unsteered: str

    @property
    def name(self) -> str:
        """What it is called in an address: `detox-detox-toxic`, and the others where they are not all at 0."""
        still = [f"{dimension}{value:g}" for (_, dimension), value in self.others.items() if value]
        return "-".join([self.steer, self.dimension, self.prompts, *still]).replace(".", "_")

    @property
    def title(self) -> str:
        """What it is called on the page: `sentiment from −5 to +5, corpus 0`; the corpus dimension is at 1 unsaid."""
        low, *_, high = self.settings
        still = [
            f"{name} {value_text(value)}" for (_, name), value in self.others.items() if (name, value) != (CORPUS, 1)
        ]
        return ", ".join([f"{self.dimension} from {value_text(low)} to {value_text(high)}", *still])


def steer_values(steer: dict[str, dict[str, float]], study: Study) -> Values:
    """Return the value of every dimension of the steers of a setting; one that is left out is at 0."""
    return {
        (name, dimension): float(value)
        for name, given in steer.items()
        for dimension, value in {**dict.fromkeys(study.steers[name].dimensions, 0), **given}.items()
    }


def families(study: Study) -> list[Family]:
    """Return the families of at least three values, in the order of the study; those on toxic prompts come last."""
    members: dict[Any, dict[float, str]] = {}
    for name, setting in study.settings.items():
        # All that its texts depend on but its steer: members of a family share it.
        circumstances = setting.model_dump_json(exclude={"steer", "scorers", "against", "perplexity_limit"})
        values = steer_values(setting.steer, study)
        for key, value in values.items():
            others = tuple((other, at) for other, at in values.items() if other != key)
            members.setdefault((key, others, circumstances), {}).setdefault(value, name)
    found = []
    for ((steer, dimension), others, _), settings in members.items():
        first = study.settings[next(iter(settings.values()))]
        if first.against and not any(at for _, at in others):
            settings.setdefault(0.0, first.against)
        if len(settings) >= FEWEST:
            ascending = dict(sorted(settings.items()))
            found.append(Family(steer, dimension, first.prompts, dict(others), ascending, first.against))
    return sorted(found, key=lambda family: study.prompts[family.prompts].toxic)
