"""What each rule of the workflow needs of a study, one function per rule: inputs, options of its command, and the rest.

    plan.train(study, model="smollm2", steer="detox").options      # ["--model", "results/models/smollm2", "--texts", …]

Names are those of the rules' wildcards. What may be too long for a command line (generations, tables, texts) a command
reads from the study by name; that part of the study is still a parameter of the rule, so that an edit re-runs it.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lm_steer.data import layout
from lm_steer.data.labelled import SPLITS
from lm_steer.data.sources import DATASETS, PROMPTS
from lm_steer.score.kinds.bag_of_words import BagOfWords
from lm_steer.score.kinds.classifier import Classifier
from lm_steer.score.kinds.held_out import HeldOut
from lm_steer.score.kinds.lm_eval import LmEval
from lm_steer.score.registry import SCORERS, kind_of
from lm_steer.study import targets
from lm_steer.study.config import EFFECT_KINDS, Study, read_study
from lm_steer.study.targets import RESULTS as R
from lm_steer.study.targets import STUDY_FILE
from lm_steer.util.blocks import keys_naming
from lm_steer.util.errors import LMSteerError
from lm_steer.util.kinds import Kinds
from lm_steer.util.words import unknown

RECIPE = ("rank", "epsilon", "steps", "batch_size", "learning_rate", "regularization", "max_length")


class Needs(NamedTuple):
    """What a rule needs: `part` is what it depends on besides its inputs and options."""

    inputs: Sequence[str]
    options: Sequence[str] = ()
    part: Any = None
    by_model: bool = False


def of_file(path: Path, rule: Callable[..., Needs], **names: str) -> Needs:
    """Return what a rule needs of the study in a file; LMSteerError if the study lacks a name."""
    study = read_study(path)
    known: dict[str, Iterable[str]] = {
        "model": targets.writers(study),
        "seed": map(str, study.seeds),
        "setting": study.settings,
        "scorer": targets.scorers_that(study, "of_model"),
        "agreement": study.agreement,
        "table": study.tables,
        "analysis": targets.analyses(study, *(EFFECT_KINDS if rule is effects else ["evidence"])),
    }
    for what, name in names.items():
        # Without a setting, all settings of a model are generated together.
        if (name or what != "setting") and name not in known.get(what, [name]):
            raise LMSteerError(f"{path}: {unknown(name, known[what], what)}")
    return rule(study, **names)


def _options(**values: Any) -> list[str]:
    """Return options of a command: flags for true values, one option per item of a list, nothing for empty values."""
    words = []
    for name, value in values.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value is not False and value not in ("", None):
            words += [word for each in (value if isinstance(value, list) else [value]) for word in (option, str(each))]
    return words


def _keys_of(block: Any, *keys: str) -> dict[str, Any]:
    values: dict[str, Any] = block.model_dump(include=set(keys))
    return values


def _runs(study: Study, model: str) -> dict[str, Any]:
    """Return the options to run a model with: its dtype, and vLLM if the study says so."""
    block = study.models[model]
    if block.engine is None:
        return {"dtype": block.dtype}
    options = json.dumps(block.engine.options) if block.engine.options else ""
    return {"dtype": block.dtype, "vllm": block.engine.python, "vllm_options": options}


def _at(values: dict[str, float]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def _model(study: Study, model: str) -> dict[str, Any]:
    return {"model": layout.model(R, model), "dtype": study.models[model].dtype}


def _resource(study: Study, scorer: str) -> list[str]:
    """Return the judge or model of a scorer, if it has one."""
    return list(filter(None, [study.scorers[scorer].resource(scorer)]))


def _keys(study: Study, scorer: str) -> dict[str, Any]:
    """Return the keys of a scorer's kind, except those that its judge or model is obtained by."""
    block = study.scorers[scorer]
    keys = [key for key in SCORERS.own_keys(type(block)) if key not in block.obtained_by()]
    return {key: getattr(block, key) for key in keys}


def model(study: Study, model: str) -> Needs:
    """A model or classifier by its name; a rotated one is made from another."""
    if model in study.scorers:
        classifier = study.scorers[model]
        assert isinstance(classifier, Classifier), "the rule is for models and classifiers"
        return Needs([], _options(**classifier.origin()))
    block = study.models[model]
    inputs = [layout.model(R, block.id)] if block.source == "rotated" else []
    return Needs(inputs, _options(**_keys_of(block, "source", "id", "revision") | {"id": (*inputs, block.id)[0]}))


def dataset(study: Study, dataset: str) -> Needs:
    """Labelled texts; the user's own files are inputs, so that an edit to them re-runs the rule."""
    return _source(study.datasets[dataset], DATASETS)


def prompts(study: Study, prompts: str) -> Needs:
    """A set of prompts."""
    block = study.prompts[prompts]
    inputs, options, *_ = _source(block, PROMPTS)
    return Needs(inputs, [*options, *_options(chat=block.chat)])


def _source(source: Any, kinds: Kinds[Any]) -> Needs:
    # The name of a dataset means its test texts.
    named = {key: layout.texts(R, getattr(source, key), "test") for key in keys_naming(type(source), "datasets")}
    source = source.model_copy(update=named)
    options = ["--source", source.source]
    for key in kinds.own_keys(type(source)):
        value = getattr(source, key)
        if value not in ("", []):
            options += [f"--{key.replace('_', '-')}", *map(_text, value if isinstance(value, list) else [value])]
    return Needs([*named.values(), *source.files()], options)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def train(study: Study, model: str, steer: str) -> Needs:
    """The training of a steer."""
    block = study.steers[steer]
    texts, dev = (layout.texts(R, block.dataset, split) for split in SPLITS[:2])
    labels = study.datasets[block.dataset].label_names
    styles = [dimension for dimension in block.dimensions if dimension in labels]
    options = _options(
        **_model(study, model),
        texts=texts,
        dev=dev,
        dimensions=",".join(block.dimensions),
        **_keys_of(block, "kind", *RECIPE, "loss_on_padding", "training_free", "chat"),
        count=block.texts or None,
        label_scale=None if block.label_scale == 1 else block.label_scale,
        label_column="" if list(labels) == ["label"] else ",".join(styles),
    )
    return Needs([layout.model(R, model), texts, dev], options)


def transfer(study: Study, steer: str, seed: str) -> Needs:
    """A steer transferred from another model."""
    origin = study.steers[steer].transfer
    assert origin is not None, "the rule is for transferred steers"
    folder = layout.steer(R, origin.source, origin.steer, seed)
    source, target = (layout.model(R, end) for end in (origin.source, origin.target))
    options = _options(steer=folder, source=source, target=target, method=origin.method)
    return Needs([source, target, *layout.steer_files(folder)], options)


def lora(study: Study, model: str, adapter: str) -> Needs:
    """The training of a LoRA."""
    block = study.adapters[adapter]
    texts = layout.texts(R, block.dataset, "train")
    options = _options(**_model(study, model), texts=texts, budget_rank=block.rank, count=block.texts or None)
    assert block.labels is not None, "the rule is for LoRAs"
    keys = _keys_of(block, "steps", "batch_size", "learning_rate", "max_length")
    options += ["--labels", *map(str, block.labels), *_options(**keys)]
    return Needs([layout.model(R, model), texts], options)


def generate(study: Study, model: str, seed: str, setting: str = "", scatteritem: str = "") -> Needs:
    """Continuations of one setting, or of all settings that share a job, for all prompts or a shard of them.

    `part` lists the arguments of each `Job`: output, prompts, steers, sampling, prefix.
    """
    folder = layout.shard(R, scatteritem) if scatteritem else R
    inputs, jobs = [layout.model(R, model)], []
    for name in [setting] if setting else targets.together(study, further=seed != str(study.seeds[0])):
        block = study.settings[name]
        steers, prompt_file = _steers(model, seed, block), layout.prompts(R, block.prompts)
        inputs += [prompt_file, *(file for one in steers for file in layout.steer_files(one))]
        if block.adapter:
            steers = {layout.adapter(R, model, block.adapter, seed): {}}
            inputs += steers
        job: dict[str, Any] = {"output": layout.generations(folder, model, seed, name), "prompts": prompt_file}
        job |= {"steers": steers, "sampling": study.sampling_of(block).model_dump()}
        jobs.append({**job, "prefix": block.prefix, "system": block.system})
    return Needs(list(dict.fromkeys(inputs)), _options(**_runs(study, model)), jobs)


def external(study: Study, setting: str) -> Needs:
    """Generations made elsewhere."""
    return Needs([study.settings[setting].generations])


def judge(study: Study, scorer: str) -> Needs:
    """A judge that the study trains: it must not see any steer's training texts, nor any prompt."""
    block = study.scorers[scorer]
    assert isinstance(block, BagOfWords), "the rule is for judges that the study trains"
    held_out = layout.texts(R, block.held_out, "dev")
    trained_on = sorted({steer.dataset for steer in study.steers.values()})
    unseen = [layout.texts(R, dataset, "train") for dataset in trained_on]
    unseen += [layout.prompts(R, prompts) for prompts in study.prompts]
    return Needs([held_out, *unseen], _options(held_out=held_out, exclude=unseen))


def score(study: Study, model: str, scorer: str, scatteritem: str = "") -> Needs:
    """The scores of a model's generations by one scorer, for all prompts or a shard of them."""
    block, resource = study.scorers[scorer], _resource(study, scorer)
    judged = [name for name, setting in study.settings.items() if scorer in setting.scorers]
    files = targets.generations_of(study, [model], judged)
    options = _options(
        **_keys_of(block, "kind", "scores"),
        option=[f"{key}={_text(value)}" for key, value in _keys(study, scorer).items() if value != ""],
        **(_runs(study, block.model) if hasattr(block, "model") else {}),
        prompts=block.prompts or None,
        resource=resource,
        file=files,
        shard=scatteritem,
    )
    return Needs([*files, *resource, *filter(None, [block.scores])], options)


def side_effects(study: Study, model: str, scorer: str) -> Needs:
    """Return what measuring texts or a task under the steers of each setting needs; `part` lists them."""
    block = study.scorers[scorer]
    inputs, part = [layout.model(R, model)], []
    if isinstance(block, HeldOut):
        inputs.append(layout.texts(R, block.dataset, "test"))
        measured = {"texts": inputs[-1], "count": block.texts}
    else:
        assert isinstance(block, LmEval), "the rule is for scorers of the steered model"
        inputs += block.files()
        measured = _keys_of(block, "task", "metric", "limit", "include")
    for name, setting in study.settings.items():
        files = targets.generations_of(study, [model], [name]) if scorer in setting.scorers else []
        for seed, file in zip(study.seeds_of(name), files, strict=False):
            steers = _steers(model, seed, setting)
            inputs += [file for one in steers for file in layout.steer_files(one)]
            part.append({"file": file, "steers": steers})
    return Needs(list(dict.fromkeys(inputs)), _options(**_model(study, model), **measured), part)


def _steers(model: str, seed: int | str, setting: Any) -> dict[str, dict[str, float]]:
    return {layout.steer(R, model, steer, seed): values for steer, values in setting.steer.items()}


def agreement(study: Study, agreement: str) -> Needs:
    """Scorers of toxicity on texts with Perspective's scores; `part` has each one's kind, resource and keys."""
    block, scorers = study.agreement[agreement], {}
    for name in block.scorers:
        scorers[name] = {"kind": study.scorers[name].kind, **_keys(study, name)}
        scorers[name] |= dict(zip(["resource"], _resource(study, name), strict=False))
    inputs = [*block.paths, *(one["resource"] for one in scorers.values() if "resource" in one)]
    by_model = any(kind_of(one["kind"]).by_model for one in scorers.values())
    return Needs(inputs, _options(file=block.paths), scorers, by_model)


def table(study: Study, table: str) -> Needs:
    """A table; `part` is what `write_table` takes: rows, published, settings, scorers, models and seeds."""
    block = study.tables[table]
    shown = [name for names in block.rows.values() for name in names]
    settings = dict.fromkeys(name for name in [*shown, *(study.settings[n].against for n in shown)] if name)
    used = {name for setting in settings for name in study.settings[setting].scorers}
    scorers = [name for name in study.scorers if name in used.intersection(block.scorers or used)]
    published = _dump(block.published) if block.published else {}
    part = {"rows": block.rows, "published": published, **_scored(study, settings, scorers)}
    texts = targets.generations_of(study, [*targets.writers(study), layout.EXTERNAL], settings)
    return Needs([*texts, *targets.scores_of(study, settings, scorers)], part=part)


def _scored(study: Study, settings: Iterable[str], scorers: Iterable[str]) -> dict[str, Any]:
    blocks = {
        name: {"models": study.steered, "seeds": study.seeds_of(name)} | _dump(study.settings[name])
        for name in settings
    }
    used = {name: study.scorers[name] for name in scorers}
    judges = {
        name: {"attribute": one.yields, "prompts": one.prompts, "of_model": one.of_model} for name, one in used.items()
    }
    return {"settings": blocks, "scorers": judges, "models": targets.writers(study), "seeds": study.seeds}


def _dump(block: Any) -> dict[str, Any]:
    return block.model_dump(exclude_none=True)


def effects(study: Study, analysis: str) -> Needs:
    """Figures of several settings; `part` is what `write_effects` takes: kind, block, settings, scorers, …"""
    kind, block = targets.analysis(study, analysis)
    settings = [point["setting"] for point in block.points]
    inputs = targets.generations_of(study, targets.writers(study), settings)
    inputs += targets.scores_of(study, settings, block.scorers)
    shown = {"kind": kind, "block": {**_dump(block), "points": block.points}}
    return Needs(inputs, part=shown | _scored(study, settings, block.scorers))


def _of_steer(study: Study, model: str, block: Any, **more: Any) -> Needs:
    """An analysis of one steer of the first seed, with further options."""
    folder = layout.steer(R, model, block.steer, study.seeds[0])
    options = _options(**_model(study, model), steer=folder, **more)
    return Needs([layout.model(R, model), *layout.steer_files(folder)], options)


def directions(study: Study, model: str, analysis: str) -> Needs:
    """The singular directions of a steer; dev texts orient them."""
    block = study.analyses.directions[analysis]
    texts = layout.texts(R, study.steers[block.steer].dataset, "dev")
    resource = _resource(study, block.scorer) if block.scorer else []
    judge = {"judge": study.scorers[block.scorer].kind, "resource": resource} if block.scorer else {}
    keys = _keys_of(block, "dimension", "count", "words")
    needs = _of_steer(study, model, block, texts=texts, **keys, **judge)
    return needs._replace(inputs=[*needs.inputs, texts, *resource])


def evidence(study: Study, model: str, analysis: str) -> Needs:
    """The evidence of a style in the texts of a file, or, as `part`, of the study itself."""
    block = study.analyses.evidence[analysis]
    keys = _keys_of(block, "path", "dimension", "spans", "length", "opposite")
    at = _at({block.dimension: block.value, **block.held})
    needs = _of_steer(study, model, block, **keys, at=at, reading=block.readings)
    of_study = [] if block.path else _options(study=STUDY_FILE, name=analysis)
    return Needs([*needs.inputs, *filter(None, [block.path])], [*needs.options, *of_study], block.texts)


def evidence_texts(study: Study, analysis: str) -> Needs:
    """The texts in the study itself."""
    return Needs([], part=study.analyses.evidence[analysis].texts)


def cost(study: Study, model: str, analysis: str) -> Needs:
    """The cost of a steer; the seconds of its training are in a benchmark file."""
    block = study.analyses.costs[analysis]
    benchmark = f"results/benchmarks/train/{model}.{block.steer}.seed{study.seeds[0]}.tsv"
    return _of_steer(study, model, block, training=benchmark, at=_at(block.values))
