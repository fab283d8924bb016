# What the rules of models, texts and prompts are given. No rules.
from lm_steer.score.kinds import model_of


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
