# What the rules of analyses are given: their files and options, read off the block `analyses`. No rules.
import json
from pathlib import Path

from lm_steer.analyse.expand import EFFECT_KINDS
from lm_steer.util.outputs import STDIN


def transfer_of(wildcards):
    return TRANSFERRED[wildcards.steer]


def transfer_input(wildcards):
    chosen = transfer_of(wildcards)
    folder = f"results/steers/{chosen['source']}/{chosen['steer']}/seed{wildcards.seed}"
    return {
        "steer": [f"{folder}/{file}" for file in STEER_FILES[:2]],
        "source": f"results/models/{chosen['source']}",
        "target": f"results/models/{chosen['target']}",
    }


def transfer_options(wildcards):
    chosen = transfer_of(wildcards)
    folder = f"results/steers/{chosen['source']}/{chosen['steer']}/seed{wildcards.seed}"
    return ["--steer", folder, *options(chosen, ["method"])]


def adapter_texts(wildcards):
    return f"results/data/{STUDY['adapters'][wildcards.adapter]['dataset']}/train.parquet"


def adapter_options(wildcards):
    chosen = STUDY["adapters"][wildcards.adapter]
    # As many parameters as the steer: A and B of each dimension. The command turns the rank into a budget.
    return [
        *options(STUDY["models"][wildcards.model], ["dtype"]),
        "--budget-rank",
        str(chosen["rank"] * len(chosen["dimensions"])),
        "--labels",
        *map(str, chosen["labels"]),
        *(["--count", str(chosen["texts"])] if chosen["texts"] else []),
        *options(chosen, ["steps", "batch_size", "learning_rate", "max_length"]),
    ]


def apart_steers(wildcards):
    setting = STUDY["settings"][wildcards.setting]
    steers = [
        f"results/steers/{wildcards.model}/{name}/seed{wildcards.seed}/{file}"
        for name in setting["steer"]
        for file in STEER_FILES[:2]
    ]
    adapter = setting.get("adapter")
    return steers + (
        [f"results/adapters/{wildcards.model}/{adapter}/seed{wildcards.seed}"] if adapter else []
    )


def apart_prompts(wildcards):
    return f"results/prompts/{STUDY['settings'][wildcards.setting]['prompts']}.jsonl"


def apart_job(wildcards):
    return [
        *options(STUDY["models"][wildcards.model], ["dtype"]),
        *generation_job(wildcards.model, wildcards.seed, wildcards.setting),
    ]


def effects_kind(wildcards):
    return next(kind for kind in EFFECT_KINDS if wildcards.analysis in OF_KIND[kind])


def effects_block(wildcards):
    return OF_KIND[effects_kind(wildcards)][wildcards.analysis]


def effects_input(wildcards):
    block = effects_block(wildcards)
    settings = [point["setting"] for point in block["points"]]
    kind = effects_kind(wildcards)
    steers = expand(
        "results/steers/{model}/{steer}/seed{seed}/{file}",
        model=MODELS,
        steer=block["steers"] if kind == "compositions" else [],
        seed=SEEDS[0],
        file=STEER_FILES[:2],
    )
    return {
        "generations": [path for model in WRITERS for path in generation_files(model, settings)],
        "scores": score_files(settings, block["scorers"]),
        "steers": steers,
    }


def effects_spec(wildcards):
    block = effects_block(wildcards)
    settings = {point["setting"]: with_models(point["setting"]) for point in block["points"]}
    scorers = {name: STUDY["scorers"][name] for name in block["scorers"]}
    start = {"kind": effects_kind(wildcards), "block": block}
    return json.dumps(start | {"settings": settings, "scorers": scorers, "models": WRITERS, "seeds": SEEDS})


def block_of(wildcards):
    """The block of an analysis of one steer."""
    return next(
        OF_KIND[kind][wildcards.analysis]
        for kind in ("directions", "evidence", "costs")
        if wildcards.analysis in OF_KIND[kind]
    )


def steer_of(wildcards):
    """The steer's files, of the first seed."""
    folder = f"results/steers/{wildcards.model}/{block_of(wildcards)['steer']}/seed{SEEDS[0]}"
    return [f"{folder}/{file}" for file in STEER_FILES[:2]]


def steer_folder(wildcards):
    return str(Path(steer_of(wildcards)[0]).parent)


def orienting_texts(wildcards):
    return f"results/data/{STUDY['steers'][block_of(wildcards)['steer']]['dataset']}/dev.parquet"


def words_judge(wildcards):
    scorer = block_of(wildcards)["scorer"]
    return resource_of(scorer) if scorer else []


def directions_options(wildcards, input):
    block = block_of(wildcards)
    judge = ["--judge", STUDY["scorers"][block["scorer"]]["kind"]] if block["scorer"] else []
    resource = [part for path in input.judge for part in ("--resource", path)]
    dtype = options(STUDY["models"][wildcards.model], ["dtype"])
    return [*dtype, *options(block, ["dimension", "count", "words"]), *judge, *resource]


def evidence_file(wildcards):
    path = block_of(wildcards)["path"]
    return [path] if path else []


def evidence_options(wildcards):
    block = block_of(wildcards)
    return [
        *options(STUDY["models"][wildcards.model], ["dtype"]),
        "--path",
        block["path"] or STDIN,
        *options(block, ["dimension", "value", "spans", "length"]),
        *(
            ["--held", " ".join(f"{name}={value}" for name, value in block["held"].items())]
            if block["held"]
            else []
        ),
        *(["--opposite"] if block["opposite"] else []),
        *(part for value in block["readings"] for part in ("--reading", str(value))),
    ]


def evidence_texts(wildcards):
    """The texts that stand in the study itself, as JSON lines."""
    # Quoting makes nothing of an empty text, and `<<<` needs a word.
    return "\n".join(json.dumps({"text": text}) for text in block_of(wildcards)["texts"]) or "\n"


def cost_options(wildcards):
    block = block_of(wildcards)
    benchmark = f"results/benchmarks/train/{wildcards.model}.{block['steer']}.seed{SEEDS[0]}.tsv"
    return [
        *options(STUDY["models"][wildcards.model], ["dtype"]),
        "--training",
        benchmark,
        "--at",
        " ".join(f"{name}={value}" for name, value in block["values"].items()),
    ]
