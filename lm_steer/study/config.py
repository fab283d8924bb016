"""The study as a whole: its sections, the constraints between them, and what its analyses add.

study = resolved(config)                       # LMSteerError names every key that is wrong, and what to do
study = read_study("results/study.json")
study.settings["positive"].steer               # {"sentiment": {"sentiment": 5, "corpus": 1}}
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, ValidationError

from lm_steer.study.analyses import Analyses
from lm_steer.study.kinds import Dataset, Model, Prompts, Scorer
from lm_steer.study.of_settings import Parts
from lm_steer.study.settings import Agreement, Sampling, Setting, Steer, Table
from lm_steer.util.blocks import FILLED_IN, AtLeastOne, Block, ModelName, Unique, key
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import read_json, write_json
from lm_steer.util.options import Name, Seed, Shards
from lm_steer.util.sentences import sentences

# Analyses that compute figures from several settings (tables/effects.py), and all that add settings.
EFFECT_KINDS = ("sweeps", "compositions", "transfers", "ablations")
EXPANDED = (*EFFECT_KINDS, "baselines")


class Study(Block):
    """One config that the workflow turns into steers, texts, scores, tables and one page."""

    title: str = key("The heading of the page.", "An LM-Steer study")
    seeds: Annotated[list[Seed], AtLeastOne, Unique] = key(
        "Training and sampling seeds; a cell is the mean over them. Unsteered settings and analyses use the first.", [0]
    )
    shards: Shards = key(
        "How many jobs share the prompts of a model and seed. Choose the number of GPUs; it does not change the texts.",
        1,
    )
    models: Annotated[dict[Name, Model], AtLeastOne] = key("The frozen language models, by names of your choice.")
    steered: Annotated[list[ModelName], Unique] = key(
        "The names of the models to steer, whose texts are scored; empty means all. Other models serve scorers, as a "
        "larger one that judges perplexity.",
        [],
    )
    datasets: dict[Name, Dataset] = key(
        "Labelled texts, split into train, dev and test by a hash of each text (60, 10 and 30 per cent). `sst5` keeps "
        "its own splits; `jigsaw` sets aside 2000 dev and 2000 test texts per class (a tenth of a class each if it has "
        "fewer than 20,000).",
        {},
    )
    steers: dict[Name, Steer] = key("What to train, once for each model and seed.", {})
    prompts: Annotated[dict[Name, Prompts], AtLeastOne] = key("Sets of prompts.")
    sampling: Sampling = key("How continuations are sampled.")
    scorers: Annotated[dict[Name, Scorer], AtLeastOne] = key("The judges of texts.")
    settings: Annotated[dict[Name, Setting], AtLeastOne] = key("What to generate, one file for each model and seed.")
    agreement: dict[Name, Agreement] = key(
        "How well scorers of toxicity agree with Perspective, one table for each set of texts with its scores.", {}
    )
    analyses: Analyses = key(
        "Analyses beyond the tables. Each adds the settings, steers and tables it needs, and a section of the page.",
        Analyses(),
    )
    tables: Annotated[dict[Name, Table], AtLeastOne] = key("The tables of the page.")
    adapters: Annotated[dict[str, Steer], *FILLED_IN] = Field({}, exclude=True)
    of_analyses: Annotated[list[str], *FILLED_IN] = Field([], exclude=True)
    _written: "Study | None" = PrivateAttr(None)

    @property
    def written(self) -> "Study":
        """The study without what its analyses add."""
        return self._written or self

    def dump(self) -> dict[str, Any]:
        """Return a config that gives the same study."""
        return self.written.model_dump(exclude_none=True)

    def write(self, path: str | Path) -> None:
        """Write the study as JSON, which `read_study` reads."""
        write_json(path, self.dump())

    def sampling_of(self, setting: Setting) -> Sampling:
        """Return how the continuations of a setting are sampled."""
        return self.sampling.model_copy(update=setting.sampling.model_dump(exclude_none=True))

    @property
    def models_used(self) -> list[str]:
        """The models that are steered, judge, or take part in a transfer, and those that rotated ones are made from."""
        judges = [scorer.model for scorer in self.scorers.values() if hasattr(scorer, "model")]
        transfers = self.analyses.transfers.values()
        used = [*self.steered, *judges, *(end for block in transfers for end in (block.source, block.target))]
        origins = [self.models[name].id for name in used if self.models[name].source == "rotated"]
        return list(dict.fromkeys([*used, *origins]))

    def seeds_of(self, setting: str) -> list[int]:
        """Return the seeds of a setting: all if it is steered and not of an analysis, otherwise the first."""
        block = self.settings[setting]
        if block.generations:
            return [0]
        several = block.is_steered and f"settings.{setting}" not in self.of_analyses
        return self.seeds if several else self.seeds[:1]

    def seeds_of_steer(self, steer: str) -> list[int]:
        """Return the seeds that a steer is trained with: all, or the first for an analysis."""
        return self.seeds[:1] if f"steers.{steer}" in self.of_analyses else self.seeds

    def blocks(self) -> Iterator[tuple[str, Block]]:
        """Yield every named block with its place."""
        for section in ("models", "datasets", "steers", "prompts", "scorers", "agreement", "settings", "tables"):
            yield from ((f"{section}.{name}", block) for name, block in getattr(self, section).items())
        for kind, named in self.analyses:
            yield from ((f"analyses.{kind}.{name}", block) for name, block in named.items())


def read_study(path: str | Path) -> Study:
    """Read a study that was written beside its results; LMSteerError names the file and the first problem."""
    config = read_json(path)
    try:
        return resolved(config)
    except LMSteerError as error:
        first, *others = str(error).splitlines()[1:]
        more = f" (and {len(others)} more)" if others else ""
        raise LMSteerError(f"{path}: {first.strip()}{more}") from None


def resolved(config: Any) -> Study:
    """Return the study of a config, with its defaults; raise LMSteerError naming every key that is wrong."""
    try:
        study = Study.model_validate(config, context=_names(config))
    except ValidationError as error:
        raise _wrong(sentences(error, Study)) from None
    study = study.model_copy(update={"steered": study.steered or list(study.models)})
    if problems := list(_problems(study)):
        raise _wrong(problems)
    study, clashes = expanded(study)
    if problems := [*clashes, *_same_paths(study), *_problems(study)]:
        raise _wrong(problems)
    return study


def _names(config: Any) -> dict[str, list[str]]:
    """Return the names that blocks may refer to, by section."""
    config = config if isinstance(config, dict) else {}
    # A missing required section is reported itself, without the references to it.
    defaults: dict[str, Any] = {name: {} for name, field in Study.model_fields.items() if not field.is_required()}
    sections = {name: block for name, block in {**defaults, **config}.items() if isinstance(block, dict)}
    models = sections.get("models", {}).items()
    origins = [name for name, block in models if not (isinstance(block, dict) and block.get("source") == "rotated")]
    return {name: list(block) for name, block in sections.items()} | {"origins": origins}


def _wrong(problems: Iterable[str]) -> LMSteerError:
    return LMSteerError("the config is wrong:\n" + "\n".join(f"  {problem}" for problem in dict.fromkeys(problems)))


def _problems(study: Study) -> Iterator[str]:
    for place, block in study.blocks():
        yield from (place + problem for problem in block.problems(study))


def expanded(written: Study, kinds: Iterable[str] = EXPANDED) -> tuple[Study, list[str]]:
    """Return the study with what its analyses need, and a sentence for each clash of names or labels."""
    clashes: list[str] = []
    added: dict[str, dict[str, Any]] = {part: {} for part in ("settings", "steers", "adapters", "tables")}
    maker: dict[tuple[str, str], str] = {}
    blocks = {kind: dict(named) for kind, named in written.analyses}
    for kind in kinds:
        for name, block in blocks[kind].items():
            place, parts = f"analyses.{kind}.{name}", Parts()
            points = list(block.expand(name, written, parts))
            blocks[kind][name] = block.model_copy(update={"points": points})
            labels = [point["label"] for point in points]
            rows = {point["label"]: [point["setting"]] for point in points}
            clashes += [f"{place}: two rows have the label '{label}'" for label in rows if labels.count(label) > 1]
            table = Table(title=name, rows=rows, published=block.published(points, written))
            for part, items in (*vars(parts).items(), ("tables", {name: table})):
                for item in items:
                    other = f"{part}.{item}" + (f" of {maker[part, item]}" if (part, item) in maker else "")
                    if item in getattr(written, part) or (part, item) in maker:
                        clashes.append(f"{place}: {other} has a name that this analysis creates: rename one")
                    maker[part, item] = place
                added[part] |= items
    sections: dict[str, Any] = {part: {**getattr(written, part), **items} for part, items in added.items()}
    sections["of_analyses"] = [f"{part}.{name}" for part, items in added.items() for name in items]
    study = written.model_copy(update={**sections, "analyses": written.analyses.model_copy(update=blocks)})
    study._written = written
    return study, clashes


def _same_paths(study: Study) -> Iterator[str]:
    """Yield names that would share a path, ignoring case as some file systems do."""
    names = [("models", "generations made elsewhere", "external")]
    names += [("tables", f"agreement.{name}", f"agreement-{name}") for name in study.agreement]
    for place, _ in study.blocks():
        section, name = place.split(".")[0], place.split(".")[-1]
        names.append((section, place, name))
        if section == "scorers" and study.scorers[name].kind == "classifier":
            names.append(("models", place, name))
    taken: dict[tuple[str, str], str] = {}
    for folder, place, name in names:
        other = taken.setdefault((folder, name.lower()), place)
        if other != place:
            yield f"{place}: its files would have the paths of those of {other}: rename one"
