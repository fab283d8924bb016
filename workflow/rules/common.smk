# The checked study, the lists of targets, and the functions that rules call. No rules.
import json
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

from lm_steer.analyse.expand import EFFECT_KINDS
from lm_steer.digest import code_digest
from lm_steer.errors import LMSteerError
from lm_steer.score.kinds import BY_MODEL, OPTIONS, model_of
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


DATA = [
    *expand("results/models/{model}", model=[*MODELS_USED, *CLASSIFIERS]),
    *expand("results/data/{dataset}/{split}.parquet", dataset=STUDY["datasets"], split=SPLITS),
    *expand("results/prompts/{prompts}.jsonl", prompts=STUDY["prompts"]),
]
STEERS = expand(
    "results/steers/{model}/{steer}/seed{seed}/{file}",
    model=MODELS,
    steer=TRAINED,
    seed=SEEDS,
    file=STEER_FILES,
)
TEXTS = [path for model in [*WRITERS, EXTERNAL] for path in generation_files(model, STUDY["settings"])]
SCORES = [
    *expand("results/judges/{scorer}", scorer=JUDGES),
    *score_files(STUDY["settings"], STUDY["scorers"]),
]
TABLES = [
    *expand("results/tables/{table}.csv", table=STUDY["tables"]),
    *expand("results/tables/agreement-{agreement}.csv", agreement=STUDY["agreement"]),
]
# Which analyses there are, by what makes them: `effects` are made of scores, the others of models and steers.
OF_KIND = STUDY["analyses"]
EFFECTS = [name for kind in EFFECT_KINDS for name in OF_KIND[kind]]
ANALYSES = [
    *expand("results/analyses/{analysis}.csv", analysis=EFFECTS),
    *expand(
        "results/analyses/{model}/{analysis}.{part}.csv",
        model=MODELS,
        analysis=OF_KIND["directions"],
        part=["words", "spectrum"],
    ),
    *expand(
        "results/analyses/{model}/{analysis}.{part}.csv",
        model=MODELS,
        analysis=OF_KIND["evidence"],
        part=["tokens", "readings"],
    ),
    *expand("results/analyses/{model}/{analysis}.cost.csv", model=MODELS, analysis=OF_KIND["costs"]),
]
STUDY_FILE = "results/study.json"
PAGE = "reports/index.html"
FIGURES = "results/figures"


def options(chosen, keys):
    """Keys of a config block as options of a command; what is empty stays away."""
    return [
        part for key in keys if chosen[key] != "" for part in (f"--{key.replace('_', '-')}", str(chosen[key]))
    ]


def model_options(wildcards):
    name = wildcards.model
    block = model_of(STUDY["scorers"][name]) if name in CLASSIFIERS else STUDY["models"][name]
    if block["source"] == "rotated":
        block = block | {"id": f"results/models/{block['id']}"}
    return options(block, ["source", "id", "revision"])


def model_input(wildcards):
    block = STUDY["models"].get(wildcards.model, {})
    return [f"results/models/{block['id']}"] if block.get("source") == "rotated" else []


def data_options(wildcards):
    block = STUDY["datasets"][wildcards.dataset]
    seed = ["seed"] if block["source"] == "jigsaw" else []
    return options(block, ["source", "path", "origin", "revision", *seed])


def own_file(block):
    """The file that a config block names, as an input, so that an edit to it is seen."""
    return [block["path"]] if block["source"] == "file" else []


def data_input(wildcards):
    block = STUDY["datasets"][wildcards.dataset]
    if block["source"] == "sst5" and block["path"]:
        return [f"{block['path']}/{split}.jsonl" for split in SPLITS]
    if block["source"] == "jigsaw" and block["origin"] not in ("kaggle", "hub"):
        return [block["origin"]]
    return own_file(block)


def prompt_input(wildcards):
    block = STUDY["prompts"][wildcards.prompts]
    openings = [f"results/data/{block['dataset']}/test.parquet"] if block["source"] == "openings" else []
    return openings + own_file(block)


def prompt_options(wildcards):
    block = STUDY["prompts"][wildcards.prompts]
    chosen = options(block, ["source", "name", "count", "path", "revision"])
    if block["source"] == "openings":
        chosen += options(block, ["words"])
        chosen += [
            "--texts",
            f"results/data/{block['dataset']}/test.parquet",
            "--labels",
            *map(str, block["labels"]),
        ]
    return chosen


def training_texts(wildcards):
    dataset = STUDY["steers"][wildcards.steer]["dataset"]
    return {split: f"results/data/{dataset}/{split}.parquet" for split in ("train", "dev")}


def training_options(wildcards):
    steer = STUDY["steers"][wildcards.steer]
    numbers = ["rank", "epsilon", "steps", "batch_size", "learning_rate", "regularization", "max_length"]
    padding = ["--loss-on-padding"] if steer["loss_on_padding"] else []
    dtype = options(STUDY["models"][wildcards.model], ["dtype"])
    subset = ["--count", str(steer["texts"])] if steer["texts"] else []
    scale = options(steer, ["label_scale"] if steer["label_scale"] != 1 else [])
    return [
        *dtype,
        "--dimensions",
        ",".join(steer["dimensions"]),
        *options(steer, ["kind", *numbers]),
        *padding,
        *subset,
        *scale,
    ]


def steers_used(wildcards):
    names = {name for setting in SETTINGS for name in STUDY["settings"][setting]["steer"]}
    return [
        f"results/steers/{wildcards.model}/{name}/seed{wildcards.seed}/{file}"
        for name in sorted(names)
        for file in STEER_FILES[:2]
    ]


def prompts_used(wildcards):
    return sorted({f"results/prompts/{STUDY['settings'][name]['prompts']}.jsonl" for name in SETTINGS})


def generation_job(model, seed, name, folder="results"):
    """--job OUT|PROMPTS|STEER|SAMPLING|PREFIX of a setting, without the last two where they are empty."""
    setting = STUDY["settings"][name]
    steer = " + ".join(
        " ".join(
            [f"results/steers/{model}/{which}/seed{seed}"]
            + [f"{dimension}={value}" for dimension, value in values.items()]
        )
        for which, values in setting["steer"].items()
    )
    if "adapter" in setting:
        steer = f"results/adapters/{model}/{setting['adapter']}/seed{seed}"
    output = f"{folder}/generations/{model}/seed{seed}/{name}.jsonl"
    sampling = " ".join(f"{key}={value}" for key, value in setting["sampling"].items())
    parts = [output, f"results/prompts/{setting['prompts']}.jsonl", steer, sampling, setting["prefix"]]
    while len(parts) > 3 and not parts[-1]:
        parts.pop()
    return ["--job", "|".join(parts)]


def generation_jobs(wildcards):
    """The model's dtype, and a job for each setting."""
    jobs = options(STUDY["models"][wildcards.model], ["dtype"])
    for name in SETTINGS:
        jobs += generation_job(
            wildcards.model, wildcards.seed, name, f"results/shards/{wildcards.scatteritem}"
        )
    return jobs


def own_generations(wildcards):
    return STUDY["settings"][wildcards.setting]["generations"]


def held_out(wildcards):
    return f"results/data/{STUDY['scorers'][wildcards.scorer]['held_out']}/dev.parquet"


def seen_elsewhere(wildcards):
    """What a judge must not have seen: every dataset's training texts and every prompt."""
    datasets = {steer["dataset"] for steer in STUDY["steers"].values()}
    texts = expand("results/data/{dataset}/train.parquet", dataset=sorted(datasets))
    return texts + expand("results/prompts/{prompts}.jsonl", prompts=STUDY["prompts"])


def exclusions(wildcards, input):
    return [part for path in input.exclude for part in ("--exclude", path)]


def scored_files(wildcards):
    return generation_files(wildcards.model, settings_with(wildcards.scorer, wildcards.model))


def resource_of(name):
    scorer = STUDY["scorers"][name]
    paths = {
        "causal-lm": f"results/models/{scorer['model']}",
        "classifier": f"results/models/{name}",
        "bag-of-words": f"results/judges/{name}",
    }
    return [paths[scorer["kind"]]] if scorer["kind"] in paths else []


def scorer_resource(wildcards):
    return resource_of(wildcards.scorer)


def earlier_scores(wildcards):
    path = STUDY["scorers"][wildcards.scorer]["scores"]
    return [path] if path else []


def scorer_options(wildcards, input):
    scorer = STUDY["scorers"][wildcards.scorer]
    resource = [part for path in input.resource for part in ("--resource", path)]
    files = [part for path in input.files for part in ("--file", path)]
    subset = ["--prompts", str(scorer["prompts"])] if scorer["prompts"] else []
    chosen = options(scorer, ["kind", "scores", *OPTIONS.get(scorer["kind"], ())])
    if scorer["kind"] == "causal-lm":
        chosen += options(STUDY["models"][scorer["model"]], ["dtype"])
    return [*chosen, *subset, *resource, *files]


def scorer_shard_options(wildcards, input):
    return [*scorer_options(wildcards, input), "--shard", wildcards.scatteritem]


def agreement_files(wildcards):
    return STUDY["agreement"][wildcards.agreement]["paths"]


def agreement_resources(wildcards):
    names = STUDY["agreement"][wildcards.agreement]["scorers"]
    return [path for name in names for path in resource_of(name)]


def agreement_by_model(wildcards):
    """1 where one of the scorers is a model, which wants a GPU and all threads, else 0."""
    return int(any(name in MODEL_SCORERS for name in STUDY["agreement"][wildcards.agreement]["scorers"]))


def agreement_threads(wildcards):
    return TORCH_THREADS if agreement_by_model(wildcards) else 1


def agreement_options(wildcards, input):
    spec = {}
    for name in STUDY["agreement"][wildcards.agreement]["scorers"]:
        scorer = STUDY["scorers"][name]
        spec[name] = {key: scorer[key] for key in ("kind", *OPTIONS.get(scorer["kind"], ()))}
        spec[name] |= {"resource": path for path in resource_of(name)}
    return ["--spec", json.dumps(spec), *(part for path in input.files for part in ("--file", path))]


def table_settings(wildcards):
    """The settings a table shows, and those that its differences are taken to."""
    shown = [name for names in STUDY["tables"][wildcards.table]["rows"].values() for name in names]
    against = [STUDY["settings"][name]["against"] for name in shown]
    return list(dict.fromkeys(name for name in [*shown, *against] if name))


def table_scorers(wildcards):
    """The scorers a table shows: those it names, or all of its settings'."""
    chosen = STUDY["tables"][wildcards.table]["scorers"]
    used = {name for setting in table_settings(wildcards) for name in STUDY["settings"][setting]["scorers"]}
    return [name for name in STUDY["scorers"] if name in used and (name in chosen or not chosen)]


def table_input(wildcards):
    settings = table_settings(wildcards)
    return {
        "generations": [path for model in [*WRITERS, EXTERNAL] for path in generation_files(model, settings)],
        "scores": score_files(settings, table_scorers(wildcards)),
    }


def table_spec(wildcards):
    settings = {name: with_models(name) for name in table_settings(wildcards)}
    return json.dumps(
        {
            "rows": STUDY["tables"][wildcards.table]["rows"],
            "published": STUDY["tables"][wildcards.table]["published"],
            "settings": settings,
            "scorers": {name: STUDY["scorers"][name] for name in table_scorers(wildcards)},
            "models": WRITERS,
            "seeds": SEEDS,
        }
    )


def whole_study(wildcards):
    """A function, for a study may hold braces (`LM-Steer {model}`), which are no wildcards."""
    return json.dumps(STUDY)
