# What judges, scorers and their agreement are given. No rules.
import json

from lm_steer.score.kinds import OPTIONS


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


def agreement_file_options(wildcards, input):
    return [part for path in input.files for part in ("--file", path)]


def agreement_spec(wildcards):
    spec = {}
    for name in STUDY["agreement"][wildcards.agreement]["scorers"]:
        scorer = STUDY["scorers"][name]
        spec[name] = {key: scorer[key] for key in ("kind", *OPTIONS.get(scorer["kind"], ()))}
        spec[name] |= {"resource": path for path in resource_of(name)}
    return json.dumps(spec)
