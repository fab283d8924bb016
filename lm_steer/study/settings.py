"""What is trained and generated, and the tables that show it: steers, sampling, settings, agreement, tables."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, ValidationInfo

from lm_steer.tables.published import problems as published_problems
from lm_steer.util import options
from lm_steer.util.blocks import (
    FILLED_IN,
    AtLeastOne,
    Block,
    DatasetName,
    NameOf,
    PromptsName,
    ScorerName,
    ScorerNames,
    SettingName,
    SomeValues,
    SteerName,
    Unique,
    Values,
    key,
)
from lm_steer.util.words import near, quoted, unknown

if TYPE_CHECKING:
    from lm_steer.study.config import Study


class Transfer(Block):
    """From which model's steer another one is made, for which model, and how."""

    steer: str
    source: str
    target: str
    method: str


class Steer(Block):
    """What is trained, once for each model and seed."""

    dataset: DatasetName = key("The name of a dataset.")
    dimensions: Annotated[list[options.Dimension], Unique] = key(
        "One dimension for the label, or several, named after the dataset's `labels`; and `corpus` if a constant one "
        "is to stand beside them.",
        min_length=1,
    )
    chat: options.Choice = key(
        "Put the prompts of its dataset through the model's chat template, which messages always are.", False
    )
    kind: Literal["multiply", "add", "offset"] = key(
        "`multiply` (the paper's), `add` (a shift of the head's input) or `offset` (a bias on the logits).", "multiply"
    )
    training_free: options.Choice = key(
        "Take `add` as the difference of means and `offset` as the log-odds of tokens, of the texts that as many steps "
        "would draw, in place of a training; without `corpus`.",
        False,
    )
    rank: options.Rank = key("Rank of each dimension's map.", 1000)
    epsilon: options.Epsilon = key("The paper's ε.", 0.001)
    steps: options.Steps = key("Training steps.", 1000)
    batch_size: options.BatchSize = key("Texts per step.", 32)
    learning_rate: options.LearningRate = key("Adam's learning rate.", 0.01)
    regularization: options.Regularization = key("λ in loss + λ · (‖A‖² + ‖B‖²).", 0)
    max_length: options.MaxLength = key("Tokens at which a text is cut.", 256)
    loss_on_padding: options.Choice = key("Leave pad positions in the loss, as the original code does.", False)
    texts: options.Count = key(
        "How many training texts, a fixed choice in which a smaller one lies within a larger one; 0 for all.", 0
    )
    label_scale: options.LabelScale = key("What the labels are multiplied by.", 1)
    transfer: Annotated[Transfer | None, *FILLED_IN] = None
    # Of a LoRA, whose rank is the steer's over all dimensions together: the range of its texts' labels.
    labels: Annotated[list[float] | None, *FILLED_IN] = None

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield dimensions of which none is of a label, or that the dataset has no labels for."""
        styles = [dimension for dimension in self.dimensions if dimension != "corpus"]
        if not styles:
            yield ".dimensions: expected one dimension for the label, and 'corpus' if you like, found corpus"
        if self.training_free and (self.kind == "multiply" or "corpus" in self.dimensions or self.loss_on_padding):
            yield ".training_free: only the kinds add and offset have a closed form, without corpus and loss_on_padding"
        names = study.datasets[self.dataset].label_names
        if len(styles) > 1 or len(names) > 1:
            for dimension in styles:
                if dimension not in names:
                    yield f".dimensions: {unknown(dimension, names, f'label of {self.dataset}')}"


class Sampling(Block):
    """How continuations are drawn."""

    samples: options.Samples = key("Continuations of each prompt.", 25)
    new_tokens: options.NewTokens = key("Tokens of each continuation, exactly.", 20)
    top_p: options.TopP = key("Mass of the nucleus; 1 is the whole distribution.", 0.9)
    top_k: options.TopK = key("Number of most probable tokens to draw from, before top_p; 0 is no limit.", 0)


class OtherSampling(Block):
    """What differs from the study's sampling."""

    samples: options.Samples | None = None
    new_tokens: options.NewTokens | None = None
    top_p: options.TopP | None = None
    top_k: options.TopK | None = None


class Setting(Block):
    """What is generated, a file for each model and seed."""

    prompts: PromptsName = key("The name of a set of prompts.")
    scorers: Annotated[list[ScorerName], Unique] = key("The names of its scorers; dist-n needs none.")
    generations: str = key(
        "A file of generations made elsewhere, JSON lines in the field's form: a row of another method, scored by the "
        "same scorers in the same run.",
        "",
    )
    steer: dict[SteerName, Values] = key(
        "For each steer, the values of its dimensions; a dimension left out is at 0. Several steers add up.", {}
    )
    sampling: OtherSampling = key("What differs from the study's sampling, for this setting alone.", OtherSampling())
    prefix: str = key(
        "Words put before each prompt in generation alone; judges and tables see the prompt without them.", ""
    )
    system: str = key("A system message put before each chat prompt, in generation alone as well.", "")
    perplexity_limit: options.NotNegative = key(
        "Texts with a perplexity of this or more are left out of the mean, as in the original code; 0 is no limit.",
        10000,
    )
    against: Annotated[str, NameOf("settings", "setting", optional=True)] = key(
        "The unsteered setting on the same prompts that differences are taken to.", ""
    )
    models: Annotated[list[str] | None, *FILLED_IN] = None
    adapter: Annotated[str | None, *FILLED_IN] = None

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield values of dimensions that a steer lacks, and a comparison that would not be one."""
        for steer, values in self.steer.items():
            yield from dimensions_lacking(f".steer.{steer}", steer, values, study)
        sampling = self.sampling.model_dump(exclude_none=True)
        if self.generations and (self.steer or self.against or sampling or self.prefix or self.system):
            yield ": generations made elsewhere go without the keys steer, sampling, prefix, system and against"
        if self.generations or self.prefix or self.system or self.adapter:
            for name in self.scorers:
                if study.scorers[name].of_model:
                    yield (
                        f".scorers: '{name}' measures what steers do to given texts, and this setting is of another "
                        "kind: leave it out"
                    )
        if self.system and not study.prompts[self.prompts].chat:
            yield f".system: a system message is for chat prompts: give '{self.prompts}' the key 'chat: true'"
        if self.against:
            yield from self._incomparable(study.settings[self.against], study)

    @property
    def is_steered(self) -> bool:
        """Whether a trained map acts: an adapter, or a steer at a value other than 0."""
        return bool(self.adapter) or any(value for values in self.steer.values() for value in values.values())

    def _incomparable(self, other: "Setting", study: "Study") -> Iterator[str]:
        asks_otherwise = other.prefix not in ("", self.prefix) or other.system not in ("", self.system)
        if other.is_steered or other.against or other.generations or asks_otherwise:
            yield (
                f".against: '{self.against}' is itself steered, compared, prefixed or made elsewhere: differences are "
                "taken to an unsteered setting"
            )
        conditions = [
            ("prompts", other.prompts, self.prompts),
            ("perplexity_limit", other.perplexity_limit, self.perplexity_limit),
            ("sampling", *(study.sampling_of(setting).model_dump() for setting in (other, self))),
        ]
        for name, there, here in conditions:
            if there != here:
                yield (
                    f".against: '{self.against}' has the {name} {there!r}, this setting {here!r}: differences are "
                    f"taken under the same {name}"
                )
        lacking = [scorer for scorer in self.scorers if scorer not in other.scorers]
        if lacking:
            yield f".against: '{self.against}' lacks the scorer {quoted(lacking)}"


def dimensions_lacking(place: str, steer: str, named: Any, study: "Study") -> Iterator[str]:
    """Yield those of the named dimensions that a steer does not have."""
    dimensions = study.steers[steer].dimensions
    for name in named:
        if name not in dimensions:
            has = f"{near(name, dimensions)}; it has {', '.join(dimensions)}"
            yield f"{place}: the steer '{steer}' has no dimension '{name}'{has}"


class AtValues(Block):
    """What is of one steer at given values."""

    steer: SteerName = key("The name of a steer.")
    values: SomeValues = key("The values of the steer's dimensions.")

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield dimensions that the steer lacks."""
        yield from dimensions_lacking("", self.steer, self.values, study)


class Agreement(Block):
    """How well scorers of toxicity agree with Perspective, on texts that carry its scores."""

    paths: Annotated[list[str], Unique] = key(
        "Files of JSON lines in RealToxicityPrompts' form, such as results/prompts/NAME.jsonl of prompts from "
        "`real-toxicity-prompts`; their continuations are judged.",
        min_length=1,
    )
    scorers: ScorerNames = key("The names of scorers of toxicity.")

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield scorers of something else."""
        for name in self.scorers:
            if name == "reference":
                yield ".scorers: 'reference' is the name of Perspective's own scores: rename the scorer"
            if study.scorers[name].yields != "toxicity":
                yield f".scorers: '{name}' does not yield toxicity, as Perspective does"


def _rows_of_paper(found: Any, info: ValidationInfo) -> Any:
    if isinstance(found, dict) and all(isinstance(row, str) for row in found.values()):
        known = (info.context or {}).get("models", found)
        for model in found:
            if model not in known:
                raise ValueError(unknown(model, known, "model"))
    elif not isinstance(found, str):
        raise ValueError(f"expected text or a mapping, found {found!r:.80}")
    return found


class Published(Block):
    """What the paper says, to stand beside a table of ours."""

    table: str = key("The table of the paper.")
    rows: dict[str, Annotated[Any, AfterValidator(_rows_of_paper)]] = key(
        "For each of our rows its row there, `{model}` for the model's name, or a mapping from models to rows."
    )
    metrics: dict[str, dict[str, str]] = key("For each set of prompts, the paper's names for our metrics.")


class Table(Block):
    """A table of the page."""

    title: str = key("The table's heading.")
    note: str = key("A sentence under the heading.", "")
    rows: dict[options.Label, Annotated[list[SettingName], AtLeastOne]] = key(
        "For each row, by its label, the settings it shows, one for each set of prompts.", min_length=1
    )
    scorers: Annotated[list[str], Unique] = key(
        "Which of its settings' scorers it shows; empty is all. Of each attribute it shows one.", []
    )
    published: Published | None = key(
        "What the paper says, to stand beside: `table` of the paper, `rows` (for each of ours its row there, "
        "`{model}` for the model's name, or a mapping from models to rows), `metrics` (for each set of prompts, the "
        "paper's names for our metrics).",
        None,
    )

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield scorers that would not stand side by side, rows the paper lacks, and prompts that a row has twice."""
        used = {scorer for names in self.rows.values() for name in names for scorer in study.settings[name].scorers}
        for scorer in self.scorers:
            if scorer not in used:
                yield f".scorers: {unknown(scorer, sorted(used), 'scorer of its settings')}"
        by_attribute: dict[str, list[str]] = {}
        for scorer in sorted(used.intersection(self.scorers or used)):
            by_attribute.setdefault(study.scorers[scorer].yields, []).append(scorer)
        for attribute, names in by_attribute.items():
            if len(names) > 1:
                yield (
                    f": its settings have several scorers of {attribute} ({', '.join(names)}), which never stand side "
                    "by side: choose one by the key 'scorers', and make a table of its own for the other"
                )
        if self.published:
            yield from published_problems(self.published.model_dump(), ".published")
            for label in self.published.rows:
                if label not in self.rows:
                    yield f".published.rows: {unknown(label, self.rows, 'row')}"
        for label, names in self.rows.items():
            prompts = [study.settings[name].prompts for name in names]
            if len(set(prompts)) != len(prompts):
                yield f".rows.{label}: two settings of a row have the same prompts ({', '.join(prompts)})"
