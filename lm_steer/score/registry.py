"""Kinds of scorers: a class each, whose fields are the keys of its block in a study.

    kind_of("classifier")                    # Classifier, of kinds/classifier.py
    kind_of("formality:Formality")           # a class of your own, in a module that Python can import
    make("perspective", {"mode": "replay"}).scorer()

A package offers a kind by an entry point in the group `lm_steer.scorers`. Nothing heavy is imported before a scorer is
made.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from lm_steer.score import kinds
from lm_steer.score.store import Scorer
from lm_steer.util.kinds import Kinds, key

__all__ = ["SCORERS", "Kind", "key", "kind_of", "make"]


@dataclass(frozen=True)
class Kind(ABC):
    """What is known of a kind of scorer before it runs; subclasses are frozen dataclasses too.

    attribute       what it yields, which decides on the metrics of a table; a new one is shown as its share of
                    samples scored ≥ .5, or by the metrics that the module registers
    by_model        whether it is a model of torch's, which takes a GPU where there is one
    of_model        whether it measures the steered model of each setting, not the texts of the setting
    folder          the folder of results that its judge or model lies in; empty where it has none
    packages        what of the package registry it reads
    online          whether it asks a service: it needs the network, and never runs twice at a time
    note            what a reader of its numbers must know
    """

    attribute: ClassVar[str] = ""
    by_model: ClassVar[bool] = False
    of_model: ClassVar[bool] = False
    folder: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ()

    @property
    def online(self) -> bool:
        """Whether it asks a service."""
        return False

    @property
    def note(self) -> str:
        """What a reader of its numbers must know."""
        return ""

    def resource(self, name: str) -> str:
        """Return the path of the judge or model of a study's scorer, or nothing where it has none."""
        return f"results/{self.folder}/{name}" if self.folder else ""

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with its block in a study, as `.key: sentence` or `: sentence`."""
        yield from ()

    @abstractmethod
    def scorer(self, resource: str = "", dtype: str = "float32") -> Scorer:
        """Load the judge; `resource` is the folder of its judge or model."""


SCORERS = Kinds("kind of scorer", Kind, kinds, "lm_steer.scorers")  # type: ignore[type-abstract]
kind_of, make = SCORERS.named, SCORERS.make
