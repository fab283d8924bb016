"""Kinds of scorers: a class each, whose fields are the keys of its block in a study.

    kind_of("classifier")                    # Classifier, of classifier.py
    kind_of("formality:Formality")           # a class of your own, in a module that Python can import
    make("perspective", {"mode": "replay"}).scorer()

A package offers a kind by an entry point in the group `lm_steer.scorers`. Nothing heavy is imported before a scorer is
made.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, get_args, get_origin

from lm_steer.score.store import Scorer
from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import Rule
from lm_steer.util.plugins import load, load_group


def key(description: str, default: Any = "", required: bool = False, names: str = "", obtains: bool = False) -> Any:
    """Define a key of a kind.

    names       the section of the study whose blocks it names: `models` or `datasets`
    obtains     whether it only says where the judge or model is from, which is obtained before and given as a folder
    """
    about = {"description": description, "required": required, "names": names, "obtains": obtains or bool(names)}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Kind:
    """What is known of a kind of scorer before it runs; subclasses are frozen dataclasses too.

    attribute       what it yields, which decides on the metrics of a table; a new one is shown as its share of
                    samples scored ≥ .5, or by the metrics that the module registers
    by_model        whether it is a model of torch's, which takes a GPU where there is one
    folder          the folder of results that its judge or model lies in; empty where it has none
    packages        what of the package registry it reads
    online          whether it asks a service: it needs the network, and never runs twice at a time
    note            what a reader of its numbers must know
    """

    attribute: ClassVar[str] = ""
    by_model: ClassVar[bool] = False
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

    def scorer(self, resource: str = "", dtype: str = "float32") -> Scorer:
        """Load the judge; `resource` is the folder of its judge or model."""
        raise NotImplementedError


def kinds() -> dict[str, type[Kind]]:
    """Return the kinds that have a name: those of the package, then those of entry points."""
    from lm_steer.score import bag_of_words, causal_lm, classifier, perspective, profanity_check

    return {
        "profanity-check": profanity_check.ProfanityCheck,
        "bag-of-words": bag_of_words.BagOfWords,
        "causal-lm": causal_lm.CausalLM,
        "perspective": perspective.Perspective,
        "classifier": classifier.Classifier,
        **load_group("lm_steer.scorers"),
    }


def kind_of(name: str) -> type[Kind]:
    """Return a kind by its name, or by the `module:Class` that defines it."""
    kind = load(name) if ":" in name else kinds().get(name)
    if kind is None:
        raise LMSteerError(f"unknown kind of scorer '{name}': choose {', '.join(kinds())}, or module:Class")
    if not (isinstance(kind, type) and issubclass(kind, Kind) and kind is not Kind):
        raise LMSteerError(f"'{name}' is not a kind of scorer: expected a subclass of lm_steer.score.registry.Kind")
    if kind.scorer is Kind.scorer:
        raise LMSteerError(f"the kind of scorer '{name}' has no method `scorer`, which loads its judge: define it")
    return kind


def make(name: str, keys: Mapping[str, Any]) -> Kind:
    """Return a kind with the keys of a block, or with those of a command, which are text."""
    kind = kind_of(name)
    known = {one.name: one.type for one in fields(kind)}
    for unknown in keys.keys() - known.keys():
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise LMSteerError(f"a scorer of the kind '{name}' has no key '{unknown}': {has}")
    return kind(**{one: _read(one, value, known[one]) for one, value in keys.items()})


def _read(name: str, value: Any, kind: Any) -> Any:
    """Return the value of a key, which may be written as text; LMSteerError where its type does not allow it."""
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    if choices and value not in choices:
        raise LMSteerError(f"{name}: '{value}' is unknown; choose {', '.join(filter(None, choices))}")
    try:
        for rule in getattr(kind, "__metadata__", ()):
            value = rule.read(value) if isinstance(rule, Rule) else value
    except ValueError as error:
        raise LMSteerError(f"{name}: {error}") from None
    return value
