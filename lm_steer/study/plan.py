"""What each rule of the workflow is given of a study, a function a rule: inputs, options of its command, and the rest.

    plan.train(study, model="smollm2", steer="detox").options      # ["--model", "results/models/smollm2", "--texts", …]

Names are those of the rules' wildcards. What may be too long for a command line (generations, tables, texts) a command
reads from the study by name; that part of the study is a parameter of the rule all the same: an edit re-runs it.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from lm_steer.data import layout
from lm_steer.data.labelled import SPLITS
from lm_steer.score.kinds.bag_of_words import BagOfWords
from lm_steer.score.kinds.classifier import Classifier
from lm_steer.score.registry import kind_of
from lm_steer.study import targets
from lm_steer.study.config import EFFECT_KINDS, Study, read_study
from lm_steer.study.targets import RESULTS as R
from lm_steer.study.targets import STUDY_FILE
from lm_steer.util.errors import LMSteerError
from lm_steer.util.words import unknown

RECIPE = ("rank", "epsilon", "steps", "batch_size", "learning_rate", "regularization", "max_length")


class Given(NamedTuple):
    """What a rule is given: `part` is what it depends on beside its inputs and options."""

    inputs: Sequence[str]
    options: Sequence[str] = ()
    part: Any = None
    by_model: bool = False


def of_file(path: Path, rule: Callable[..., Given], **names: str) -> Given:
    """Return what a rule is given of the study in a file; LMSteerError where the study lacks a name."""
    study = read_study(path)
    known: dict[str, Iterable[str]] = {
        "model": targets.writers(study),
        "setting": study.settings,
        "agreement": study.agreement,
        "table": study.tables,
        "analysis": targets.analyses(study, *(EFFECT_KINDS if rule is effects else ["evidence"])),
    }
    for what, name in names.items():
        if name and name not in known.get(what, [name]):
            raise LMSteerError(f"{path}: {unknown(name, known[what], what)}")
    return rule(study, **names)


def _options(block: Any, *keys: str) -> list[str]:
    """Return keys of a block, or of a mapping, as options of a command; what is empty or not there stays away."""
    values = block if isinstance(block, dict) else block.model_dump(include=set(keys))
    chosen = [(f"--{key.replace('_', '-')}", values.get(key)) for key in keys]
    return [part for name, value in chosen if value not in ("", None) for part in (name, str(value))]


def _engine(study: Study, model: str) -> list[str]:
    """Return the options by which a command runs a model in vLLM, if the study says so."""
    engine = study.models[model].engine
    if engine is None:
        return []
    return ["--vllm", engine.python, *(["--vllm-options", json.dumps(engine.options)] if engine.options else [])]


def _each(option: str, values: Iterable[Any]) -> list[str]:
    return [part for value in values for part in (option, str(value))]


def _at(values: dict[str, float]) -> list[str]:
    return ["--at", " ".join(f"{name}={value}" for name, value in values.items())]


def _model(study: Study, model: str) -> list[str]:
    return ["--model", layout.model(R, model), *_options(study.models[model], "dtype")]


def _resource(study: Study, scorer: str) -> list[str]:
    """Return the judge or model of a scorer, where it has one."""
    path = study.scorers[scorer].described.resource(scorer)
    return [path] if path else []


def _keys(study: Study, scorer: str) -> dict[str, Any]:
    """Return the keys of a scorer's kind, but for those that its judge or model is obtained by."""
    block = study.scorers[scorer]
    keys = (one.name for one in fields(block.described) if not (one.metadata["obtains"] or one.metadata["names"]))
    return {key: getattr(block, key) for key in keys}


def model(study: Study, model: str) -> Given:
    """A model, or a classifier, by its name; a rotated one is made of another."""
    if model in study.scorers:
        described = study.scorers[model].described
        assert isinstance(described, Classifier), "the rule is for models and classifiers"
        return Given([], _options(described.origin(), "source", "id", "revision"))
    block = study.models[model].model_dump()
    inputs = [layout.model(R, block["id"])] if block["source"] == "rotated" else []
    return Given(inputs, _options(block | {"id": (*inputs, block["id"])[0]}, "source", "id", "revision"))


def dataset(study: Study, dataset: str) -> Given:
    """Labelled texts: the user's own files are inputs, so that an edit to them is seen."""
    return _source(study.datasets[dataset])


def prompts(study: Study, prompts: str) -> Given:
    """A set of prompts."""
    block = study.prompts[prompts]
    inputs, options, *_ = _source(block)
    return Given(inputs, [*options, *(["--chat"] if block.chat else [])])


def _source(block: Any) -> Given:
    source = block.described
    # A dataset that is named stands for its test texts.
    named = [one.name for one in fields(source) if one.metadata["names"] == "datasets"]
    source = replace(source, **{key: layout.texts(R, getattr(source, key), "test") for key in named})
    options = ["--source", block.source]
    for one in fields(source):
        value = getattr(source, one.name)
        if value not in ("", []):
            options += [f"--{one.name.replace('_', '-')}", *map(_text, value if isinstance(value, list) else [value])]
    return Given(source.files(), options)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def train(study: Study, model: str, steer: str) -> Given:
    """The training of a steer."""
    block = study.steers[steer]
    texts, dev = (layout.texts(R, block.dataset, split) for split in SPLITS[:2])
    options = [*_model(study, model), "--texts", texts, "--dev", dev, "--dimensions", ",".join(block.dimensions)]
    options += _options(block, "kind", *RECIPE)
    flags = ("loss_on_padding", "training_free", "chat")
    options += [f"--{flag.replace('_', '-')}" for flag in flags if getattr(block, flag)]
    options += ["--count", str(block.texts)] if block.texts else []
    options += _options(block, "label_scale") if block.label_scale != 1 else []
    names = study.datasets[block.dataset].described.label_names
    styles = [dimension for dimension in block.dimensions if dimension in names]
    options += ["--label-column", ",".join(styles)] if styles and list(names) != ["label"] else []
    return Given([layout.model(R, model), texts, dev], options)


def transfer(study: Study, steer: str, seed: str) -> Given:
    """A steer of another model, carried over."""
    origin = study.steers[steer].transfer
    assert origin is not None, "the rule is for steers that are carried over"
    folder = layout.steer(R, origin.source, origin.steer, seed)
    source, target = (layout.model(R, end) for end in (origin.source, origin.target))
    options = ["--steer", folder, "--source", source, "--target", target, *_options(origin, "method")]
    return Given([source, target, *layout.steer_files(folder)], options)


def lora(study: Study, model: str, adapter: str) -> Given:
    """The training of a LoRA."""
    block = study.adapters[adapter]
    texts = layout.texts(R, block.dataset, "train")
    options = [*_model(study, model), "--texts", texts, "--budget-rank", str(block.rank)]
    options += ["--labels", *map(str, block.labels), *(["--count", str(block.texts)] if block.texts else [])]
    return Given([layout.model(R, model), texts], [*options, *_options(block, *RECIPE[2:])])


def generate(study: Study, model: str, seed: str, setting: str = "", scatteritem: str = "") -> Given:
    """Continuations of one setting, or of all those that one job makes, of all prompts or of a shard of them.

    `part` lists the arguments of each `Job`: output, prompts, steers, sampling, prefix.
    """
    folder = layout.shard(R, scatteritem) if scatteritem else R
    inputs, jobs = [layout.model(R, model)], []
    for name in [setting] if setting else targets.together(study, further=seed != str(study.seeds[0])):
        block = study.settings[name]
        steers = {layout.steer(R, model, steer, seed): values for steer, values in block.steer.items()}
        inputs += [layout.prompts(R, block.prompts), *(file for one in steers for file in layout.steer_files(one))]
        if block.adapter:
            steers = {layout.adapter(R, model, block.adapter, seed): {}}
            inputs += steers
        output = layout.generations(folder, model, seed, name)
        job = {"output": output, "prompts": layout.prompts(R, block.prompts), "steers": steers}
        jobs.append(
            {**job, "sampling": study.sampling_of(block).model_dump(), "prefix": block.prefix, "system": block.system}
        )
    options = [*_options(study.models[model], "dtype"), *_engine(study, model)]
    return Given(list(dict.fromkeys(inputs)), options, jobs)


def external(study: Study, setting: str) -> Given:
    """Generations made elsewhere."""
    return Given([study.settings[setting].generations])


def judge(study: Study, scorer: str) -> Given:
    """A judge that is trained here: it must not have seen any dataset's training texts, nor any prompt."""
    described = study.scorers[scorer].described
    assert isinstance(described, BagOfWords), "the rule is for judges that are trained here"
    held_out = layout.texts(R, described.held_out, "dev")
    trained_on = sorted({steer.dataset for steer in study.steers.values()})
    unseen = [layout.texts(R, dataset, "train") for dataset in trained_on]
    unseen += [layout.prompts(R, prompts) for prompts in study.prompts]
    return Given([held_out, *unseen], ["--held-out", held_out, *_each("--exclude", unseen)])


def score(study: Study, model: str, scorer: str, scatteritem: str = "") -> Given:
    """The scores of a model's generations by one scorer, of all prompts or of a shard of them."""
    block, resource = study.scorers[scorer], _resource(study, scorer)
    judged = [name for name, setting in study.settings.items() if scorer in setting.scorers]
    files = targets.generations_of(study, [model], judged)
    options = _options(block, "kind", "scores")
    options += _each(
        "--option", (f"{key}={_text(value)}" for key, value in _keys(study, scorer).items() if value != "")
    )
    if hasattr(block, "model"):
        options += [*_options(study.models[block.model], "dtype"), *_engine(study, block.model)]
    options += ["--prompts", str(block.prompts)] if block.prompts else []
    options += [*_each("--resource", resource), *_each("--file", files)]
    options += ["--shard", scatteritem] if scatteritem else []
    return Given([*files, *resource, *([block.scores] if block.scores else [])], options)


def agreement(study: Study, agreement: str) -> Given:
    """Scorers of toxicity on texts that carry Perspective's scores; `part` has each one's kind, resource and keys."""
    block, scorers = study.agreement[agreement], {}
    for name in block.scorers:
        scorers[name] = {"kind": study.scorers[name].kind, **_keys(study, name)}
        scorers[name] |= dict(zip(["resource"], _resource(study, name), strict=False))
    inputs = [*block.paths, *(one["resource"] for one in scorers.values() if "resource" in one)]
    by_model = any(kind_of(one["kind"]).by_model for one in scorers.values())
    return Given(inputs, _each("--file", block.paths), scorers, by_model)


def table(study: Study, table: str) -> Given:
    """A table; `part` is what `write_table` takes: rows, published, settings, scorers, models and seeds."""
    block = study.tables[table]
    shown = [name for names in block.rows.values() for name in names]
    settings = dict.fromkeys(name for name in [*shown, *(study.settings[n].against for n in shown)] if name)
    used = {name for setting in settings for name in study.settings[setting].scorers}
    scorers = [name for name in study.scorers if name in used.intersection(block.scorers or used)]
    published = _dump(block.published) if block.published else {}
    part = {"rows": block.rows, "published": published, **_scored(study, settings, scorers)}
    texts = targets.generations_of(study, [*targets.writers(study), layout.EXTERNAL], settings)
    return Given([*texts, *targets.scores_of(study, settings, scorers)], part=part)


def _scored(study: Study, settings: Iterable[str], scorers: Iterable[str]) -> dict[str, Any]:
    blocks = {
        name: {"models": study.steered, "seeds": study.seeds_of(name)} | _dump(study.settings[name])
        for name in settings
    }
    used = {name: study.scorers[name] for name in scorers}
    judges = {name: {"attribute": one.described.attribute, "prompts": one.prompts} for name, one in used.items()}
    return {"settings": blocks, "scorers": judges, "models": targets.writers(study), "seeds": study.seeds}


def _dump(block: Any) -> dict[str, Any]:
    return block.model_dump(exclude_none=True)


def effects(study: Study, analysis: str) -> Given:
    """Figures of several settings; `part` is what `write_effects` takes: kind, block, settings, scorers, …"""
    kind, block = targets.analysis(study, analysis)
    settings = [point["setting"] for point in block.points]
    inputs = targets.generations_of(study, targets.writers(study), settings)
    inputs += targets.scores_of(study, settings, block.scorers)
    shown = {"kind": kind, "block": {**_dump(block), "points": block.points}}
    return Given(inputs, part=shown | _scored(study, settings, block.scorers))


def _of_steer(study: Study, model: str, block: Any) -> Given:
    """An analysis of one steer, of the first seed."""
    folder = layout.steer(R, model, block.steer, study.seeds[0])
    return Given([layout.model(R, model), *layout.steer_files(folder)], [*_model(study, model), "--steer", folder])


def directions(study: Study, model: str, analysis: str) -> Given:
    """The singular directions of a steer; dev texts say which end of one is which."""
    block = study.analyses.directions[analysis]
    given = _of_steer(study, model, block)
    texts = layout.texts(R, study.steers[block.steer].dataset, "dev")
    options = [*given.options, "--texts", texts, *_options(block, "dimension", "count", "words")]
    if not block.scorer:
        return Given([*given.inputs, texts], options)
    resource = _resource(study, block.scorer)
    judge = ["--judge", study.scorers[block.scorer].kind, *_each("--resource", resource)]
    return Given([*given.inputs, texts, *resource], [*options, *judge])


def evidence(study: Study, model: str, analysis: str) -> Given:
    """The evidence of a style in texts: those of a file, or, as `part`, those of the study itself."""
    block = study.analyses.evidence[analysis]
    given = _of_steer(study, model, block)
    texts = ["--path", block.path] if block.path else ["--study", STUDY_FILE, "--name", analysis]
    options = [*given.options, *texts, *_at({block.dimension: block.value, **block.held})]
    options += _options(block, "dimension", "spans", "length")
    options += [*(["--opposite"] if block.opposite else []), *_each("--reading", block.readings)]
    return Given([*given.inputs, *([block.path] if block.path else [])], options, block.texts)


def evidence_texts(study: Study, analysis: str) -> Given:
    """The texts that stand in the study itself."""
    return Given([], part=study.analyses.evidence[analysis].texts)


def cost(study: Study, model: str, analysis: str) -> Given:
    """The cost of a steer; the benchmark of its training tells the seconds."""
    block = study.analyses.costs[analysis]
    given = _of_steer(study, model, block)
    benchmark = f"results/benchmarks/train/{model}.{block.steer}.seed{study.seeds[0]}.tsv"
    return Given(given.inputs, [*given.options, "--training", benchmark, *_at(block.values)])
