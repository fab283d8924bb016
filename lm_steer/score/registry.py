"""Kinds of scorers: one class per kind, whose fields are the keys of its block in a study.

    kind_of("classifier")                    # Classifier, of kinds/classifier.py
    kind_of("formality:Formality")           # a class of your own, in a module that Python can import
    make("perspective", {"mode": "replay"}).scorer()

A package adds a kind by an entry point in the group `lm_steer.scorers`. Nothing heavy is imported until a scorer is
made.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from lm_steer.score import kinds
from lm_steer.score.store import Scorer
from lm_steer.util.blocks import key, keys_naming
from lm_steer.util.errors import LMSteerError
from lm_steer.util.kinds import Kinds, OfKind
from lm_steer.util.options import Count

__all__ = ["SCORERS", "Kind", "key", "kind_of", "make"]


class Kind(OfKind):
    """Base class of all kinds of scorers.

    yields          the attribute it scores, which selects the metrics of a table; a new attribute is shown as its
                    share of samples scored ≥ .5, or by the metrics that the module registers
    by_model        whether it runs a torch model, on a GPU if there is one
    of_model        whether it measures each setting's steered model, not its texts
    folder          the results folder of its judge or model; empty if it has none
    origins         keys that only say where its judge or model comes from
    online          whether it queries a service: it needs the network, and runs once at a time
    note            what readers of its numbers must know
    """

    yields: ClassVar[str] = ""
    by_model: ClassVar[bool] = False
    of_model: ClassVar[bool] = False
    folder: ClassVar[str] = ""
    origins: ClassVar[tuple[str, ...]] = ()
    online: ClassVar[bool] = False
    note: ClassVar[str] = ""

    prompts: Count = key("How many prompts of each setting to score, from the first; 0 for all.", 0)
    scores: str = key(
        "A file of earlier scores, as `lm-steer store export` writes it; its texts are not judged again.", ""
    )
    kind: str = ""

    def resource(self, name: str) -> str:
        """Return the path of the judge or model of a study's scorer; empty if it has none."""
        return f"results/{self.folder}/{name}" if self.folder else ""

    def problems(self, study: Any) -> Iterator[str]:
        """Yield what is wrong with its keys, such as keys about generations if it scores none."""
        yield from super().problems(study)
        for name in ("prompts", "scores") if self.of_model else ():
            if getattr(self, name):
                yield f".{name}: the kind {self.kind} scores no generations: leave it out"

    @classmethod
    def obtained_by(cls) -> list[str]:
        """Return the keys that say what its judge or model is made of, or which texts it reads."""
        return [*cls.origins, *keys_naming(cls, "models"), *keys_naming(cls, "datasets")]

    @abstractmethod
    def scorer(self, resource: str = "", dtype: str = "float32") -> Scorer:
        """Load the judge; `resource` is the folder of its judge or model."""


class OfModel(Kind):
    """A kind that measures the steered model of each setting: it judges no text."""

    of_model = True

    def scorer(self, resource: str = "", dtype: str = "float32") -> Scorer:
        """Raise LMSteerError: it judges no texts."""
        name = type(self).__name__
        raise LMSteerError(f"{name} measures steered models: use it in a study, as a scorer of its settings")


SCORERS = Kinds("kind of scorer", "kind", Kind, kinds, "lm_steer.scorers")  # type: ignore[type-abstract]
kind_of = SCORERS.named


def make(name: str, keys: Mapping[str, Any]) -> Kind:
    """Return a kind with the keys of a command or a call, which may lack those of `obtained_by`."""
    kind = kind_of(name)
    unknown = {key: "" for key in kind.obtained_by() if kind.model_fields[key].is_required()}
    return SCORERS.make(name, unknown | {**keys})
