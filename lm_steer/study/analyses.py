"""The section `analyses` of a study: each block becomes ordinary settings, steers and a table.

A block's `points` record which setting has which value, for the figures.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from pydantic import Field, PlainSerializer, WrapValidator

from lm_steer.study.of_settings import OfOneSteer, OfSettings, Parts, Point, published_as, slug_of
from lm_steer.study.settings import Published, Transfer, dimensions_lacking
from lm_steer.study.steer_analyses import Cost, Directions, Evidence, wrong_dimensions
from lm_steer.util import options
from lm_steer.util.blocks import AtLeastOne, Block, ModelName, Points, SomeValues, SteerName, Text, Unique, Values, key
from lm_steer.util.words import number, signed

if TYPE_CHECKING:
    from lm_steer.study.config import Study

# The model of the paper's figure 5b.
PUBLISHED_SIZES = "gpt2-large"
LABELS = {
    "add": "add: a shift of h",
    "offset": "offset: a bias on logits",
    "difference-of-means": "Difference of means",
    "log-odds": "Log-odds of tokens",
}
TRAINING_FREE: dict[str, str] = {"difference-of-means": "add", "log-odds": "offset"}


class Axis(Block):
    """One dimension at several values."""

    dimension: str = key("One of its dimensions.")
    values: Points = key("The steer values, in any order.")
    held: Values = key("Values of its other dimensions.", {})

    def at(self, value: float) -> dict[str, float]:
        """Return the values of all dimensions for a value of this one."""
        return {self.dimension: value, **self.held}


class Sweep(OfSettings, Axis):
    """One dimension at several values, and the value at which quality breaks."""

    steer: SteerName = key("The name of a steer.")
    breaks_at: options.AboveOne = key(
        "Quality breaks where the perplexity exceeds this multiple of the unsteered one.", 2
    )

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield dimensions that the steer lacks."""
        yield from wrong_dimensions("", self.steer, self.dimension, self.held, study)

    def expand(self, name: str, study: "Study", parts: Parts) -> Iterator[Point]:
        """Yield a setting for each value."""
        yield self.unsteered(name, parts)
        for value in sorted(self.values):
            label = f"{self.dimension} {signed(value)}"
            steer = {self.steer: self.at(value)}
            yield {"x": value, **self.steered(name, number(value), label, parts, steer=steer)}

    def published(self, points: list[Point], study: "Study") -> Published | None:
        """Return the paper's value sweep of detoxification."""
        if self.dimension != "detox":
            return None
        rows = {point["label"]: f"{{model}} value {point['x']:g}" for point in points if "x" in point}
        return published_as("value sweep", rows, self.prompts, "toxicity_probability")


class Composition(OfSettings):
    """Two steers at once at each pair of their values, and how far their effects add up."""

    steers: dict[SteerName, Axis] = key(
        "Two steers, each with `dimension`, `values` (0 among them) and `held` as in `sweeps`.",
        min_length=2,
        max_length=2,
    )

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield dimensions that a steer lacks, and an axis without 0."""
        for steer, axis in self.steers.items():
            yield from wrong_dimensions(f".steers.{steer}", steer, axis.dimension, axis.held, study)
            if 0 not in axis.values:
                yield f".steers.{steer}.values: 0 is missing, from which additivity is measured: add it"

    def expand(self, name: str, study: "Study", parts: Parts) -> Iterator[Point]:
        """Yield a setting for each pair of values."""
        yield self.unsteered(name, parts)
        (first, one), (second, other) = self.steers.items()
        for x in sorted(one.values):
            for y in sorted(other.values):
                steer = {first: one.at(x), second: other.at(y)}
                label = f"{one.dimension} {signed(x)}, {other.dimension} {signed(y)}"
                slug = f"{number(x)}-{number(y)}"
                yield {"x": x, "y": y, **self.steered(name, slug, label, parts, steer=steer)}


class TransferOf(OfOneSteer):
    """A steer of one model transferred to another by the tokens that both vocabularies share."""

    source: ModelName = key("The model that it is trained on.")
    target: ModelName = key("The model that it is transferred to, steered or not.")
    methods: Annotated[list[Literal["least-squares", "as-published", "inverse"]], AtLeastOne, Unique] = key(
        "`least-squares` (the paper's map), `as-published` (fitted by Adam with normalised rows, as the original code "
        "does) or `inverse` (hidden states move by the inverse of the map).",
        ["least-squares", "inverse"],
    )
    factor: options.AboveZero = key("A factor on the values for the transferred steers; the paper uses a tenth.", 1)

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield dimensions that the steer lacks, and a transfer to the same model."""
        yield from super().problems(study)
        if self.source == self.target:
            yield ": source and target are the same model: name two"

    def expand(self, name: str, study: "Study", parts: Parts) -> Iterator[Point]:
        """Yield the target unsteered, with a steer trained on it, and with the steer transferred by each method."""
        here = {"models": [self.target]}
        yield self.unsteered(name, parts, **here)
        steer = {self.steer: self.values}
        trained = self.steered(name, "trained", "Trained on the target", parts, steer=steer, **here)
        yield {"method": "trained", **trained}
        values = {dimension: value * self.factor for dimension, value in self.values.items()}
        for method in self.methods:
            carried = f"{name}-{method}"
            origin = Transfer(steer=self.steer, source=self.source, target=self.target, method=method)
            parts.steers[carried] = study.steers[self.steer].model_copy(update={"transfer": origin})
            label = f"Transferred, {method}"
            yield {"method": method, **self.steered(name, method, label, parts, steer={carried: values}, **here)}


Item = TypeVar("Item")
Candidates = Annotated[list[Item] | None, AtLeastOne, Unique]


class Vary(Block):
    """The values that an ablation tries for each key."""

    texts: Candidates[options.AtLeastTwo] = None
    rank: Candidates[options.Positive] = None
    steps: Candidates[options.Positive] = None
    epsilon: Candidates[options.AboveZero] = None
    learning_rate: Candidates[options.AboveZero] = None
    label_scale: Candidates[options.AboveZero] = None
    regularization: Candidates[options.NotNegative] = None
    loss_on_padding: Candidates[options.Choice] = None
    corpus: Candidates[Literal[False]] = None


def _in_order(block: Any, check: Callable[[Any], Vary]) -> dict[str, list[Any]]:
    """Return a mapping in the order of the config, as rows are; `Vary` has the order of its fields."""
    values = check(block).model_dump(exclude_none=True)
    return {key: values[key] for key in block if key in values}


class Ablation(OfOneSteer):
    """A steer trained again with one key changed at a time, and the effect and price of each."""

    vary: Annotated[Vary, WrapValidator(_in_order), PlainSerializer(dict)] = key(
        "For each of texts, rank, epsilon, steps, regularization, label_scale, loss_on_padding and learning_rate the "
        "values to try; for corpus, `[false]` trains without that dimension."
    )

    @property
    def candidates(self) -> dict[str, list[Any]]:
        """The values to try for each key."""
        return cast(dict[str, list[Any]], self.vary)

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield what the steer lacks and so cannot vary."""
        yield from super().problems(study)
        base = study.steers[self.steer]
        if not self.candidates:
            yield ".vary: expected at least 1 key, found 0"
        if "corpus" in self.candidates and "corpus" not in base.dimensions:
            yield f".vary.corpus: the steer '{self.steer}' has no dimension 'corpus' to train without"
        if "corpus" in self.candidates and set(self.values) == {"corpus"}:
            yield ".values: expected a value of a dimension other than 'corpus', which vary.corpus trains without"
        if "rank" in self.candidates and base.kind != "multiply":
            yield f".vary.rank: a steer of kind {base.kind} has no rank: leave it out"

    def expand(self, name: str, study: "Study", parts: Parts) -> Iterator[Point]:
        """Yield the steer as it is, and one for each value of each key."""
        yield self.unsteered(name, parts)
        base = study.steers[self.steer]
        yield {"key": "", **self.steered(name, "as-it-is", "As it is", parts, steer={self.steer: self.values})}
        for changed, choices in self.candidates.items():
            for value in choices:
                slug = f"{changed.replace('_', '-')}-{slug_of(number(value))}"
                steer, values = f"{name}-{slug}", self.values
                if changed == "corpus":
                    change: dict[str, Any] = {"dimensions": [one for one in base.dimensions if one != "corpus"]}
                    values = {dimension: at for dimension, at in values.items() if dimension != "corpus"}
                    label = "without the corpus dimension"
                else:
                    change = {changed: value}
                    label = f"{changed} {str(value).lower() if isinstance(value, bool) else number(value)}"
                parts.steers[steer] = base.model_copy(update=change)
                point = self.steered(name, slug, label, parts, steer={steer: values})
                yield {"key": changed, "value": value, "base": getattr(base, changed, None), **point}

    def published(self, points: list[Point], study: "Study") -> Published | None:
        """Return the paper's rows for sizes of the training data."""
        if "texts" not in self.candidates or PUBLISHED_SIZES not in study.steered:
            return None
        sizes = {point["label"]: point["value"] for point in points if point.get("key") == "texts"}
        rows = {label: {PUBLISHED_SIZES: f"{size} texts"} for label, size in sizes.items()}
        return published_as("data size", rows, self.prompts)


class Baselines(OfOneSteer):
    """Other methods with the same aim as a steer, in the same run."""

    kinds: dict[Literal["add", "offset", "difference-of-means", "log-odds"], SomeValues] = key(
        "The steer trained as `add` or `offset`, or without training as `difference-of-means` of hidden states or "
        "`log-odds` of tokens, which have no `corpus`; each with the values of its dimensions.",
        {},
    )
    lora: Annotated[list[options.Finite], Field(max_length=2)] = key(
        "A LoRA with at most as many parameters as the steer, trained by PEFT for as many steps on the texts with a "
        "label in this range; empty for none.",
        [],
    )
    lora_learning_rate: options.LearningRate = key("Adam's learning rate for the LoRA.", 0.001)
    prefix: str = key("Words put before each prompt; empty for none.", "")
    external: dict[options.Label, Text] = key(
        "Files of generations made elsewhere on the same prompts, by the names of their rows.", {}
    )

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield dimensions that the steer lacks, and baselines that are impossible or the steer itself."""
        for values in (self.values, *self.kinds.values()):
            yield from dimensions_lacking("", self.steer, values, study)
        for kind, values in self.kinds.items():
            if kind in TRAINING_FREE and "corpus" in values:
                yield f".kinds.{kind}: 'corpus' is learned only by training: leave it out"
        if len(self.lora) == 1 or self.lora != sorted(self.lora):
            yield f".lora: expected the lowest and the highest label, found {self.lora}"
        base_kind = study.steers[self.steer].kind
        if base_kind in self.kinds:
            yield f".kinds: '{base_kind}' is the kind of the steer itself: leave it out"

    def expand(self, name: str, study: "Study", parts: Parts) -> Iterator[Point]:
        """Yield the steer, its other kinds, a LoRA, a prefix, and generations made elsewhere."""
        yield self.unsteered(name, parts)
        base = study.steers[self.steer]
        yield self.steered(name, "steer", "LM-Steer", parts, steer={self.steer: self.values})
        for kind, values in self.kinds.items():
            steer = f"{name}-{kind}"
            update: dict[str, Any] = {"kind": kind}
            if kind in TRAINING_FREE:
                styles = [name for name in base.dimensions if name != "corpus"]
                update = {"kind": TRAINING_FREE[kind], "training_free": True, "dimensions": styles}
                # Without training there is no loss.
                update["loss_on_padding"] = False
            parts.steers[steer] = base.model_copy(update=update)
            yield self.steered(name, kind, LABELS[kind], parts, steer={steer: values})
        # Scorers of side effects measure only steers.
        of_texts = {"scorers": [name for name in self.scorers if not study.scorers[name].of_model]}
        if self.lora:
            adapter = f"{name}-lora"
            budget = {"rank": base.rank * len(base.dimensions), "learning_rate": self.lora_learning_rate}
            parts.adapters[adapter] = base.model_copy(update={**budget, "labels": [*map(float, self.lora)]})
            keys = {"adapter": adapter, "models": study.steered, **of_texts}
            yield self.steered(name, "lora", "LoRA of equal budget", parts, **keys)
        if self.prefix:
            yield self.steered(name, "prefix", f"Prefix: {self.prefix.strip()}", parts, prefix=self.prefix, **of_texts)
        for order, (label, path) in enumerate(self.external.items(), start=1):
            yield self.steered(name, f"external-{order}", label, parts, generations=path, against="", **of_texts)


class Analyses(Block):
    """Analyses beyond the tables, by kind and name."""

    sweeps: dict[options.Name, Sweep] = Field(default={})
    compositions: dict[options.Name, Composition] = Field(default={})
    transfers: dict[options.Name, TransferOf] = Field(default={})
    directions: dict[options.Name, Directions] = Field(default={})
    evidence: dict[options.Name, Evidence] = Field(default={})
    ablations: dict[options.Name, Ablation] = Field(default={})
    baselines: dict[options.Name, Baselines] = Field(default={})
    costs: dict[options.Name, Cost] = Field(default={})
