# The checked study, its names, and what several stages ask. No rules.
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

from lm_steer.util.code_digest import code_digest
from lm_steer.util.errors import LMSteerError
from lm_steer.score.kinds import BY_MODEL
from lm_steer.study import models_used, resolved

SCHEMA = Path(workflow.source_path("../schemas/config.schema.yaml"))
# None where nothing is run: `--report`, `--rulegraph`.
CORES = workflow.resource_settings.cores or 1
# Two torch jobs on the same cores starve each other: one has them all, or each of `--resources gpu=N` its part.
# On a cluster the profile says how many threads a job gets.
GPUS = getattr(workflow.resource_settings.resources.get("gpu"), "value", None) or 0
TORCH_THREADS = max(1, CORES // max(1, GPUS))
ENVIRONMENT = "../../envs/environment.yaml"

try:
    STUDY = resolved(config, yaml.safe_load(SCHEMA.read_text(encoding="utf-8")))
except LMSteerError as error:
    raise WorkflowError(str(error)) from None

MODELS, SEEDS = STUDY["steered"], STUDY["seeds"]
# These, and those that only judge.
MODELS_USED = models_used(STUDY)
# Settings that are generated here, and those generated elsewhere, which stand in the place of a model.
ELSEWHERE = [name for name, setting in STUDY["settings"].items() if setting["generations"]]
# Settings that some models alone have, or that an adapter makes: each has a job of its own.
APART = [name for name, setting in STUDY["settings"].items() if "models" in setting]
SETTINGS = [name for name in STUDY["settings"] if name not in [*ELSEWHERE, *APART]]
# The models that texts are made with: those that are steered, and those that steers are carried over to.
WRITERS = list(
    dict.fromkeys([*MODELS, *(model for name in APART for model in STUDY["settings"][name]["models"])])
)
TRAINED = [name for name, steer in STUDY["steers"].items() if "transfer" not in steer]
TRANSFERRED = {name: steer["transfer"] for name, steer in STUDY["steers"].items() if name not in TRAINED}
EXTERNAL = "external"
STEER_FILES = ["steer.safetensors", "steer_config.json", "training.jsonl"]
SPLITS = ["train", "dev", "test"]
JUDGES = [name for name, scorer in STUDY["scorers"].items() if scorer["kind"] == "bag-of-words"]
CLASSIFIERS = [name for name, scorer in STUDY["scorers"].items() if scorer["kind"] == "classifier"]
MODEL_SCORERS = [name for name, scorer in STUDY["scorers"].items() if scorer["kind"] in BY_MODEL]
# Scorers that ask a service: they need the network, and never two at a time.
ONLINE = [
    name
    for name, scorer in STUDY["scorers"].items()
    if scorer["kind"] == "perspective" and scorer["mode"] == "live"
]


def memory(mb):
    """`mem_mb` of a job: so much at its first attempt, and twice as much at each further one."""

    def by_attempt(wildcards, attempt):
        return mb * 2 ** (attempt - 1)

    return by_attempt


def any_of(names):
    """A wildcard's constraint: one of the names, or nothing that exists."""
    return "|".join(map(str, names)) or "-"


wildcard_constraints:
    model=any_of([*MODELS_USED, EXTERNAL]),
    setting=any_of(STUDY["settings"]),
    seed=any_of(SEEDS),
    dataset=any_of(STUDY["datasets"]),
    prompts=any_of(STUDY["prompts"]),
    steer=any_of(STUDY["steers"]),
    adapter=any_of(STUDY["adapters"]),
    analysis=any_of(name for blocks in STUDY["analyses"].values() for name in blocks),
    scorer=any_of(STUDY["scorers"]),
    table=any_of(STUDY["tables"]),
    agreement=any_of(STUDY["agreement"]),


def settings_of(model):
    if model == EXTERNAL:
        return ELSEWHERE
    everywhere = SETTINGS if model in MODELS else []
    return [*everywhere, *(name for name in APART if model in STUDY["settings"][name]["models"])]


def with_models(name):
    """A setting, and the models that have it."""
    return {"models": MODELS} | STUDY["settings"][name]


def settings_with(scorer, model):
    return [name for name in settings_of(model) if scorer in STUDY["settings"][name]["scorers"]]


def generation_files(model, settings):
    """A model's generations in those of `settings` that it has, for all seeds."""
    chosen = [name for name in settings_of(model) if name in settings]
    seeds = [0] if model == EXTERNAL else SEEDS
    return expand(
        "results/generations/{model}/seed{seed}/{setting}.jsonl", model=model, seed=seeds, setting=chosen
    )


def score_files(settings, scorers):
    """The scores of all models in `settings` by `scorers`."""
    return [
        f"results/scores/{model}/{scorer}.parquet"
        for model in [*WRITERS, EXTERNAL]
        for scorer in scorers
        if set(settings_with(scorer, model)) & set(settings)
    ]


def options(chosen, keys):
    """Keys of a config block as options of a command; what is empty stays away."""
    return [
        part for key in keys if chosen[key] != "" for part in (f"--{key.replace('_', '-')}", str(chosen[key]))
    ]


def own_file(block):
    """The file that a config block names, as an input, so that an edit to it is seen."""
    return [block["path"]] if block["source"] == "file" else []
