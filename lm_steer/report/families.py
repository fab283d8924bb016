"""Families of settings that differ only in one steer value: the page draws its dials and curves over them.

    families(study)         # [Family("sentiment", "sentiment", "neutral", {"corpus": 1.0}, {-5.0: "negative", …}), …]

Families are recognised by their values, whatever the settings are called. If all other dimensions are at 0, value 0 is
the unsteered setting.
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
    """One dimension of a steer over its values, ascending, each with its setting; `others` are fixed."""

    steer: str
    dimension: str
    prompts: str
    others: Values
    settings: dict[float, str]
    unsteered: str

    @property
    def name(self) -> str:
        """Its name in URLs: `detox-detox-toxic`, followed by the other values that are not 0."""
        fixed = [f"{dimension}{value:g}" for (_, dimension), value in self.others.items() if value]
        return "-".join([self.steer, self.dimension, self.prompts, *fixed]).replace(".", "_")

    @property
    def title(self) -> str:
        """Its title on the page: `sentiment from −5 to +5, corpus 0`; a corpus value of 1 is not mentioned."""
        low, *_, high = self.settings
        fixed = [
            f"{name} {value_text(value)}" for (_, name), value in self.others.items() if (name, value) != (CORPUS, 1)
        ]
        return ", ".join([f"{self.dimension} from {value_text(low)} to {value_text(high)}", *fixed])


def steer_values(steer: dict[str, dict[str, float]], study: Study) -> Values:
    """Return the value of every dimension of a setting's steers; a missing one is 0."""
    return {
        (name, dimension): float(values.get(dimension, 0))
        for name, values in steer.items()
        for dimension in study.steers[name].dimensions
    }


def families(study: Study) -> list[Family]:
    """Return the families with at least three values, in the order of the study, those on toxic prompts last."""
    members: dict[Any, dict[float, str]] = {}
    for name, setting in study.settings.items():
        # Everything except the steer that its texts depend on: members of a family share it.
        circumstances = setting.model_dump_json(exclude={"steer", "scorers", "against", "perplexity_limit"})
        values = steer_values(setting.steer, study)
        for key, value in values.items():
            others = tuple((other, at) for other, at in values.items() if other != key)
            members.setdefault((key, others, circumstances), {}).setdefault(value, name)
    result = []
    for ((steer, dimension), others, _), settings in members.items():
        first = study.settings[next(iter(settings.values()))]
        if first.against and not any(at for _, at in others):
            settings.setdefault(0.0, first.against)
        if len(settings) >= FEWEST:
            ascending = dict(sorted(settings.items()))
            result.append(Family(steer, dimension, first.prompts, dict(others), ascending, first.against))
    return sorted(result, key=lambda family: study.prompts[family.prompts].toxic)
