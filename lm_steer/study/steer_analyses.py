"""Analyses of a steer itself: its directions as words, the evidence of its style in texts, and its cost."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from lm_steer.study.settings import AtValues, dimensions_lacking
from lm_steer.util import options
from lm_steer.util.blocks import Block, NameOf, SteerName, Text, Unique, Values, key

if TYPE_CHECKING:
    from lm_steer.study.config import Study


class Directions(Block):
    """The singular directions of a steer as words."""

    steer: SteerName = key("The name of a steer.")
    dimension: str = key("One of its dimensions.")
    scorer: Annotated[str, NameOf("scorers", "scorer", optional=True)] = key(
        "A scorer that needs no prompt, to judge the words of both ends.", ""
    )
    count: options.AtLeastTwo = key("How many directions.", 8)
    words: options.Positive = key("How many words at each end.", 12)

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield a dimension that the steer lacks, a steer without directions, and a judge of whole texts."""
        yield from dimensions_lacking("", self.steer, [self.dimension], study)
        if study.steers[self.steer].kind != "multiply":
            yield ": only a steer of kind multiply has singular directions: name one"
        judge = study.scorers[self.scorer] if self.scorer else None
        if judge and (judge.of_model or judge.yields == "perplexity"):
            yield f".scorer: '{self.scorer}' yields {judge.yields}, which single words do not have: choose another"


class Evidence(Block):
    """Where in texts a style shows, and the steer value that explains each best."""

    steer: SteerName = key("The name of a steer.")
    dimension: str = key("One of its dimensions.")
    value: options.SteerValue = key("The steer value whose likelihood is compared with that of the unsteered model.")
    held: Values = key("Values of its other dimensions.", {})
    opposite: options.Choice = key("Compare with the opposite value instead.", False)
    texts: list[Text] = key("The texts.", [])
    path: str = key(
        "Instead of `texts`, JSON lines with the key text and optionally spans, marked by people: a list of "
        "[first, last + 1] characters, from which precision and recall are computed.",
        "",
    )
    spans: options.Positive = key("At most this many spans of a text.", 4)
    length: options.Positive = key("At most this many tokens of a span.", 10)
    readings: Annotated[list[options.SteerValue], Unique] = key(
        "The values among which to find the one that explains a text best.",
        [-10, -7.5, -5, -2.5, 0, 2.5, 5, 7.5, 10],
        min_length=3,
    )
    toxic: options.Choice = key("Whether the texts are folded behind a warning on the page.", False)

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield dimensions that the steer lacks, a comparison with itself, and texts given twice or not at all."""
        yield from wrong_dimensions("", self.steer, self.dimension, self.held, study)
        if self.value == 0:
            yield ".value: 0 is the unsteered model, with which it is compared: choose another value"
        if bool(self.texts) == bool(self.path):
            yield ": give either the key 'texts' or the key 'path'"


class Cost(AtValues):
    """What a steer costs, in parameters, training time, memory and decoding time, hooked and folded."""


def wrong_dimensions(place: str, steer: str, dimension: str, held: Values, study: "Study") -> Iterator[str]:
    """Yield dimensions, varying or held, that a steer lacks, and one that is both."""
    yield from dimensions_lacking(place, steer, [dimension, *held], study)
    if dimension in held:
        yield f"{place}.held: '{dimension}' is the dimension that varies: only others can be held"
