# Analyses: steers carried over, adapters, what steers hold, what texts show, and what several settings say together.
localrules:
    effects,


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


rule transfer:
    input:
        unpack(transfer_input),
    output:
        expand("results/steers/{{model}}/{{steer}}/seed{{seed}}/{file}", file=STEER_FILES),
    log:
        "results/logs/transfer/{model}.{steer}.seed{seed}.log",
    benchmark:
        "results/benchmarks/transfer/{model}.{steer}.seed{seed}.tsv"
    wildcard_constraints:
        steer=any_of(TRANSFERRED),
    conda:
        ENVIRONMENT
    threads: TORCH_THREADS
    resources:
        mem_mb=memory(6000),
        runtime=60,
    params:
        options=transfer_options,
        folder="results/steers/{model}/{steer}/seed{seed}",
        code=code_digest("analyse_transfer"),
    shell:
        "lm-steer analyse transfer --source {input.source:q} --target {input.target:q} {params.options:q}"
        " --seed {wildcards.seed} --output {params.folder:q} 2>&1 | tee {log:q}"


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


rule lora:
    input:
        model="results/models/{model}",
        texts=adapter_texts,
    output:
        directory("results/adapters/{model}/{adapter}/seed{seed}"),
    log:
        "results/logs/lora/{model}.{adapter}.seed{seed}.log",
    benchmark:
        "results/benchmarks/lora/{model}.{adapter}.seed{seed}.tsv"
    conda:
        ENVIRONMENT
    threads: TORCH_THREADS
    resources:
        gpu=1,
        mem_mb=memory(6000),
        runtime=240,
    params:
        options=adapter_options,
        code=code_digest("analyse_lora"),
    shell:
        "lm-steer analyse lora --model {input.model:q} --texts {input.texts:q} {params.options:q}"
        " --seed {wildcards.seed} --output {output:q} 2>&1 | tee {log:q}"


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


# Continuations of settings that not every model has, or that an adapter makes: a job for each.
rule generate_apart:
    input:
        model="results/models/{model}",
        steers=apart_steers,
        prompts=apart_prompts,
    output:
        "results/generations/{model}/seed{seed}/{setting}.jsonl",
    log:
        "results/logs/generate/{model}.{setting}.seed{seed}.log",
    benchmark:
        "results/benchmarks/generate/{model}.{setting}.seed{seed}.tsv"
    wildcard_constraints:
        setting=any_of(APART),
        model=any_of(WRITERS),
    conda:
        ENVIRONMENT
    threads: TORCH_THREADS
    resources:
        gpu=1,
        mem_mb=memory(4000),
        runtime=240,
    params:
        job=apart_job,
        sampling=options(STUDY["sampling"], ["samples", "new_tokens", "top_p", "top_k"]),
        code=code_digest("generate"),
    shell:
        "lm-steer generate --model {input.model:q} {params.sampling:q} --seed {wildcards.seed} {params.job:q}"
        " 2>&1 | tee {log:q}"


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


rule effects:
    input:
        unpack(effects_input),
    output:
        report(
            "results/analyses/{analysis}.csv",
            category="Analyses",
            caption="../report/analysis.rst",
            labels={"analysis": "{analysis}"},
        ),
    log:
        "results/logs/effects/{analysis}.log",
    benchmark:
        "results/benchmarks/effects/{analysis}.tsv"
    wildcard_constraints:
        analysis=any_of(EFFECTS),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(2000),
    params:
        spec=effects_spec,
        code=code_digest("analyse_effects"),
    shell:
        "lm-steer analyse effects --spec {params.spec:q} --output {output:q} 2>&1 | tee {log:q}"


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


rule directions:
    input:
        model="results/models/{model}",
        steer=steer_of,
        texts=orienting_texts,
        judge=words_judge,
    output:
        words="results/analyses/{model}/{analysis}.words.csv",
        spectrum="results/analyses/{model}/{analysis}.spectrum.csv",
    log:
        "results/logs/directions/{model}.{analysis}.log",
    benchmark:
        "results/benchmarks/directions/{model}.{analysis}.tsv"
    wildcard_constraints:
        analysis=any_of(OF_KIND["directions"]),
    conda:
        ENVIRONMENT
    threads: TORCH_THREADS
    resources:
        gpu=1,
        mem_mb=memory(4000),
        runtime=30,
    params:
        folder=steer_folder,
        options=directions_options,
        code=code_digest("analyse_directions"),
    shell:
        "lm-steer analyse directions --model {input.model:q} --steer {params.folder:q} --texts {input.texts:q}"
        " {params.options:q} --spectrum {output.spectrum:q} --output {output.words:q} 2>&1 | tee {log:q}"


def evidence_file(wildcards):
    path = block_of(wildcards)["path"]
    return [path] if path else []


def evidence_options(wildcards):
    block = block_of(wildcards)
    return [
        *options(STUDY["models"][wildcards.model], ["dtype"]),
        *options(block, ["dimension", "value", "path", "spans", "length"]),
        *(
            ["--held", " ".join(f"{name}={value}" for name, value in block["held"].items())]
            if block["held"]
            else []
        ),
        *(["--opposite"] if block["opposite"] else []),
        *(part for text in block["texts"] for part in ("--text", text)),
        *(part for value in block["readings"] for part in ("--reading", str(value))),
    ]


rule evidence:
    input:
        model="results/models/{model}",
        steer=steer_of,
        path=evidence_file,
    output:
        tokens="results/analyses/{model}/{analysis}.tokens.csv",
        readings="results/analyses/{model}/{analysis}.readings.csv",
    log:
        "results/logs/evidence/{model}.{analysis}.log",
    benchmark:
        "results/benchmarks/evidence/{model}.{analysis}.tsv"
    wildcard_constraints:
        analysis=any_of(OF_KIND["evidence"]),
    conda:
        ENVIRONMENT
    threads: TORCH_THREADS
    resources:
        gpu=1,
        mem_mb=memory(4000),
        runtime=30,
    params:
        folder=steer_folder,
        options=evidence_options,
        code=code_digest("analyse_evidence"),
    shell:
        "lm-steer analyse evidence --model {input.model:q} --steer {params.folder:q} {params.options:q}"
        " --readings {output.readings:q} --output {output.tokens:q} 2>&1 | tee {log:q}"


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


# It takes all threads: what else runs would show in the times.
rule cost:
    input:
        model="results/models/{model}",
        steer=steer_of,
    output:
        "results/analyses/{model}/{analysis}.cost.csv",
    log:
        "results/logs/cost/{model}.{analysis}.log",
    benchmark:
        "results/benchmarks/cost/{model}.{analysis}.tsv"
    wildcard_constraints:
        analysis=any_of(OF_KIND["costs"]),
    conda:
        ENVIRONMENT
    threads: CORES
    resources:
        gpu=1,
        mem_mb=memory(4000),
        runtime=30,
    params:
        folder=steer_folder,
        options=cost_options,
        code=code_digest("analyse_cost"),
    shell:
        "lm-steer analyse cost --model {input.model:q} --steer {params.folder:q} {params.options:q}"
        " --output {output:q} 2>&1 | tee {log:q}"
