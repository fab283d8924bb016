# What the rules of continuations are given. No rules.


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
