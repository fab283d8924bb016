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
    """Where a transferred steer comes from: the steer, its model, the target model, and the method."""

    steer: str
    source: str
    target: str
    method: str


class Steer(Block):
    """What to train, once for each model and seed."""

    dataset: DatasetName = key("The name of a dataset.")
    dimensions: Annotated[list[options.Dimension], Unique] = key(
        "One dimension for the label, or several named after the dataset's `labels`; and optionally `corpus`, a "
        "constant one.",
        min_length=1,
    )
    chat: options.Choice = key(
        "Apply the model's chat template to the prompts of the dataset, as is always done for messages.", False
    )
    kind: Literal["multiply", "add", "offset"] = key(
        "`multiply` (the paper's), `add` (a shift of the head's input) or `offset` (a bias on the logits).", "multiply"
    )
    training_free: options.Choice = key(
        "Instead of training, take the difference of means (`add`) or the log-odds of tokens (`offset`) of the texts "
        "that this many steps would draw; without `corpus`.",
        False,
    )
    rank: options.Rank = key("Rank of each dimension's map.", 1000)
    epsilon: options.Epsilon = key("The paper's ε.", 0.001)
    steps: options.Steps = key("Training steps.", 1000)
    batch_size: options.BatchSize = key("Texts per step.", 32)
    learning_rate: options.LearningRate = key("Adam's learning rate.", 0.01)
    regularization: options.Regularization = key("λ in loss + λ · (‖A‖² + ‖B‖²).", 0)
    max_length: options.MaxLength = key("Tokens to which a text is truncated.", 256)
    loss_on_padding: options.Choice = key("Include padding in the loss, as the original code does.", False)
    texts: options.Count = key(
        "How many training texts, a fixed choice of which a smaller one is part of a larger one; 0 for all.", 0
    )
    label_scale: options.LabelScale = key("A factor on the labels.", 1)
    transfer: Annotated[Transfer | None, *FILLED_IN] = None
    # For a LoRA, whose `rank` is the total over the steer's dimensions: the range of its texts' labels.
    labels: Annotated[list[float] | None, *FILLED_IN] = None

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield dimensions without labels, and keys that exclude each other."""
        styles = [dimension for dimension in self.dimensions if dimension != "corpus"]
        if not styles:
            yield ".dimensions: expected a dimension for the label, found only 'corpus': add one"
        if self.training_free and (self.kind == "multiply" or "corpus" in self.dimensions or self.loss_on_padding):
            yield ".training_free: only the kinds add and offset have a closed form, without corpus and loss_on_padding"
        names = study.datasets[self.dataset].label_names
        if len(styles) > 1 or len(names) > 1:
            for dimension in styles:
                if dimension not in names:
                    yield f".dimensions: {unknown(dimension, names, f'label of {self.dataset}')}"


class Sampling(Block):
    """How continuations are sampled."""

    samples: options.Samples = key("Continuations per prompt.", 25)
    new_tokens: options.NewTokens = key("Tokens per continuation, exactly.", 20)
    top_p: options.TopP = key("Probability mass of the nucleus; 1 is the whole distribution.", 0.9)
    top_k: options.TopK = key("Number of most probable tokens to sample from, before top_p; 0 is no limit.", 0)


class OtherSampling(Block):
    """What differs from the study's sampling."""

    samples: options.Samples | None = None
    new_tokens: options.NewTokens | None = None
    top_p: options.TopP | None = None
    top_k: options.TopK | None = None


class Setting(Block):
    """What to generate, one file for each model and seed."""

    prompts: PromptsName = key("The name of a set of prompts.")
    scorers: Annotated[list[ScorerName], Unique] = key("The names of its scorers; dist-n needs none.")
    generations: str = key(
        "A file of generations made elsewhere, as JSON lines in the field's form: another method, scored by the same "
        "scorers in the same run.",
        "",
    )
    steer: dict[SteerName, Values] = key(
        "For each steer, the values of its dimensions; a dimension left out is at 0. Several steers add up.", {}
    )
    sampling: OtherSampling = key("What differs from the study's sampling, for this setting alone.", OtherSampling())
    prefix: str = key(
        "Words put before each prompt for generation only; judges and tables see the prompt without them.", ""
    )
    system: str = key("A system message put before each chat prompt, also for generation only.", "")
    perplexity_limit: options.NotNegative = key(
        "Leave texts of at least this perplexity out of the mean, as the original code does; 0 is no limit.", 10000
    )
    against: Annotated[str, NameOf("settings", "setting", optional=True)] = key(
        "The unsteered setting on the same prompts that this one is compared with.", ""
    )
    models: Annotated[list[str] | None, *FILLED_IN] = None
    adapter: Annotated[str | None, *FILLED_IN] = None

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield dimensions that a steer lacks, keys that exclude each other, and an unfair comparison."""
        for steer, values in self.steer.items():
            yield from dimensions_lacking(f".steer.{steer}", steer, values, study)
        sampling = self.sampling.model_dump(exclude_none=True)
        if self.generations and (self.steer or self.against or sampling or self.prefix or self.system):
            yield ": generations made elsewhere: leave out the keys steer, sampling, prefix, system and against"
        if self.generations or self.prefix or self.system or self.adapter:
            for name in self.scorers:
                if study.scorers[name].of_model:
                    yield f".scorers: '{name}' measures what steers do to given texts, nothing else: leave it out"
        if self.system and not study.prompts[self.prompts].chat:
            yield f".system: a system message is for chat prompts: set 'chat: true' for the prompts '{self.prompts}'"
        if self.against:
            yield from self._incomparable(study.settings[self.against], study)

    @property
    def is_steered(self) -> bool:
        """Whether a trained map acts: an adapter, or a steer at a value other than 0."""
        return bool(self.adapter) or any(value for values in self.steer.values() for value in values.values())

    def _incomparable(self, other: "Setting", study: "Study") -> Iterator[str]:
        other_words = other.prefix not in ("", self.prefix) or other.system not in ("", self.system)
        if other.is_steered or other.against or other.generations or other_words:
            yield f".against: '{self.against}' is steered, compared, prefixed or made elsewhere: name an unsteered one"
        conditions = [
            ("prompts", other.prompts, self.prompts),
            ("perplexity_limit", other.perplexity_limit, self.perplexity_limit),
            ("sampling", *(study.sampling_of(setting).model_dump() for setting in (other, self))),
        ]
        for name, there, here in conditions:
            if there != here:
                yield f".against: '{self.against}' has {name} {there!r}, this setting {here!r}: make them the same"
        lacking = [scorer for scorer in self.scorers if scorer not in other.scorers]
        if lacking:
            yield f".against: '{self.against}' lacks the scorer {quoted(lacking)}: add it there"


def dimensions_lacking(place: str, steer: str, named: Any, study: "Study") -> Iterator[str]:
    """Yield those of the named dimensions that a steer does not have."""
    dimensions = study.steers[steer].dimensions
    for name in named:
        if name not in dimensions:
            listed = ", ".join(dimensions)
            yield f"{place}: the steer '{steer}' has no dimension '{name}'{near(name, dimensions)}; it has {listed}"


class AtValues(Block):
    """One steer at given values."""

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
                yield f".scorers: '{name}' does not yield toxicity, as Perspective does: leave it out"


def _rows_of_paper(rows: Any, info: ValidationInfo) -> Any:
    if isinstance(rows, dict) and all(isinstance(row, str) for row in rows.values()):
        known = (info.context or {}).get("models", rows)
        for model in rows:
            if model not in known:
                raise ValueError(unknown(model, known, "model"))
    elif not isinstance(rows, str):
        raise ValueError(f"expected text or a mapping, found {rows!r:.80}")
    return rows


class Published(Block):
    """The paper's figures beside a table of ours."""

    table: str = key("The table of the paper.")
    rows: dict[str, Annotated[Any, AfterValidator(_rows_of_paper)]] = key(
        "For each of our rows the paper's, with `{model}` for the model's name, or a mapping from models to rows."
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
        "Which of its settings' scorers it shows, one per attribute; empty means all.", []
    )
    published: Published | None = key(
        "The paper's figures, shown beside ours: its `table`, `rows` (for each of ours the paper's, with `{model}` for "
        "the model's name, or a mapping from models to rows), `metrics` (for each set of prompts, its names for our "
        "metrics).",
        None,
    )

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield unknown or incomparable scorers, rows the paper lacks, and prompts that a row has twice."""
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
                    f": its settings have several scorers of {attribute} ({', '.join(names)}), which are never shown "
                    "together: choose one by the key 'scorers', and add another table for the other"
                )
        if self.published:
            yield from published_problems(self.published.model_dump(), ".published")
            for label in self.published.rows:
                if label not in self.rows:
                    yield f".published.rows: {unknown(label, self.rows, 'row')}"
        for label, names in self.rows.items():
            prompts = [study.settings[name].prompts for name in names]
            if len(set(prompts)) != len(prompts):
                yield f".rows.{label}: two settings of a row have the same prompts ({', '.join(prompts)}): keep one"
