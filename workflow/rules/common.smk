# The checked study, the lists of targets, and the functions that rules call. No rules.
import json
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

from lm_steer.digest import code_digest
from lm_steer.errors import LMSteerError
from lm_steer.study import resolved

SCHEMA = Path(workflow.basedir, "schemas/config.schema.yaml")
if not SCHEMA.exists():  # included from the root Snakefile
    SCHEMA = Path(workflow.basedir, "workflow/schemas/config.schema.yaml")
ENVIRONMENT = "../../envs/environment.yaml"

try:
    STUDY = resolved(config, yaml.safe_load(SCHEMA.read_text(encoding="utf-8")))
except LMSteerError as error:
    raise WorkflowError(str(error)) from None

MODELS, SEEDS, SETTINGS = list(STUDY["models"]), STUDY["seeds"], list(STUDY["settings"])
STEER_FILES = ["steer.safetensors", "steer_config.json", "training.jsonl"]
SPLITS = ["train", "dev", "test"]
JUDGES = [name for name, scorer in STUDY["scorers"].items() if scorer["kind"] == "bag-of-words"]


def any_of(names):
    """A wildcard's constraint: one of the names, or nothing that exists."""
    return "|".join(map(str, names)) or "-"


wildcard_constraints:
    model=any_of(MODELS),
    seed=any_of(SEEDS),
    dataset=any_of(STUDY["datasets"]),
    prompts=any_of(STUDY["prompts"]),
    steer=any_of(STUDY["steers"]),
    scorer=any_of(STUDY["scorers"]),
    table=any_of(STUDY["tables"]),


def settings_with(scorer):
    return [name for name in SETTINGS if scorer in STUDY["settings"][name]["scorers"]]


DATA = [
    *expand("results/models/{model}", model=MODELS),
    *expand("results/data/{dataset}/{split}.parquet", dataset=STUDY["datasets"], split=SPLITS),
    *expand("results/prompts/{prompts}.jsonl", prompts=STUDY["prompts"]),
]
STEERS = expand(
    "results/steers/{model}/{steer}/seed{seed}/{file}",
    model=MODELS,
    steer=STUDY["steers"],
    seed=SEEDS,
    file=STEER_FILES,
)
TEXTS = expand(
    "results/generations/{model}/seed{seed}/{setting}.jsonl", model=MODELS, seed=SEEDS, setting=SETTINGS
)
SCORES = [
    *expand("results/judges/{scorer}", scorer=JUDGES),
    *expand(
        "results/scores/{model}/{scorer}.parquet",
        model=MODELS,
        scorer=filter(settings_with, STUDY["scorers"]),
    ),
]
TABLES = expand("results/tables/{table}.csv", table=STUDY["tables"])
PAGE = "reports/index.html"


def options(chosen, keys):
    """Keys of a config block as options of a command; what is empty stays away."""
    return [
        part for key in keys if chosen[key] != "" for part in ("--" + key.replace("_", "-"), str(chosen[key]))
    ]


def model_options(wildcards):
    return options(STUDY["models"][wildcards.model], ["source", "id", "revision"])


def data_options(wildcards):
    return options(STUDY["datasets"][wildcards.dataset], ["source", "path"])


def own_file(block):
    """The file that a config block names, as an input, so that an edit to it is seen."""
    return [block["path"]] if block["source"] == "file" else []


def data_input(wildcards):
    return own_file(STUDY["datasets"][wildcards.dataset])


def prompt_input(wildcards):
    block = STUDY["prompts"][wildcards.prompts]
    openings = [f"results/data/{block['dataset']}/test.parquet"] if block["source"] == "openings" else []
    return openings + own_file(block)


def prompt_options(wildcards):
    block = STUDY["prompts"][wildcards.prompts]
    chosen = options(block, ["source", "count", "path"])
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
    return ["--dimensions", ",".join(steer["dimensions"]), *options(steer, ["kind", *numbers]), *padding]


def steers_used(wildcards):
    names = {name for setting in SETTINGS for name in STUDY["settings"][setting]["steer"]}
    return [
        f"results/steers/{wildcards.model}/{name}/seed{wildcards.seed}/{file}"
        for name in sorted(names)
        for file in STEER_FILES[:2]
    ]


def prompts_used(wildcards):
    return sorted({f"results/prompts/{STUDY['settings'][name]['prompts']}.jsonl" for name in SETTINGS})


def generation_jobs(wildcards):
    """One --job OUT|PROMPTS|STEER for each setting."""
    jobs = []
    for name in SETTINGS:
        setting = STUDY["settings"][name]
        steer = " + ".join(
            " ".join(
                [f"results/steers/{wildcards.model}/{which}/seed{wildcards.seed}"]
                + [f"{dimension}={value}" for dimension, value in values.items()]
            )
            for which, values in setting["steer"].items()
        )
        output = f"results/generations/{wildcards.model}/seed{wildcards.seed}/{name}.jsonl"
        jobs += ["--job", f"{output}|results/prompts/{setting['prompts']}.jsonl|{steer}"]
    return jobs


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
    return expand(
        "results/generations/{model}/seed{seed}/{setting}.jsonl",
        model=wildcards.model,
        seed=SEEDS,
        setting=settings_with(wildcards.scorer),
    )


def scorer_resource(wildcards):
    scorer = STUDY["scorers"][wildcards.scorer]
    paths = {
        "causal-lm": f"results/models/{scorer['model']}",
        "bag-of-words": f"results/judges/{wildcards.scorer}",
    }
    return [paths[scorer["kind"]]] if scorer["kind"] in paths else []


def scorer_options(wildcards, input):
    resource = [part for path in input.resource for part in ("--resource", path)]
    files = [part for path in input.files for part in ("--file", path)]
    return ["--kind", STUDY["scorers"][wildcards.scorer]["kind"], *resource, *files]


def scorer_threads(wildcards):
    return workflow.cores if STUDY["scorers"][wildcards.scorer]["kind"] == "causal-lm" else 1


def table_settings(wildcards):
    """The settings a table shows, and those that its differences are taken to."""
    shown = [name for names in STUDY["tables"][wildcards.table]["rows"].values() for name in names]
    against = [STUDY["settings"][name]["against"] for name in shown]
    return list(dict.fromkeys(name for name in [*shown, *against] if name))


def table_input(wildcards):
    settings = table_settings(wildcards)
    scorers = sorted({scorer for name in settings for scorer in STUDY["settings"][name]["scorers"]})
    return {
        "generations": expand(
            "results/generations/{model}/seed{seed}/{setting}.jsonl",
            model=MODELS,
            seed=SEEDS,
            setting=settings,
        ),
        "scores": expand("results/scores/{model}/{scorer}.parquet", model=MODELS, scorer=scorers),
    }


def table_spec(wildcards):
    settings = {name: STUDY["settings"][name] for name in table_settings(wildcards)}
    return json.dumps(
        {
            "rows": STUDY["tables"][wildcards.table]["rows"],
            "settings": settings,
            "scorers": {
                name: STUDY["scorers"][name] for block in settings.values() for name in block["scorers"]
            },
            "models": MODELS,
            "seeds": SEEDS,
        }
    )
