# Analyses: steers carried over, adapters, what steers hold, what texts show, and what several settings say together.
localrules:
    effects,


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
        "lm-steer analyse effects --spec /dev/stdin --output {output:q} <<< {params.spec:q} 2>&1 | tee {log:q}"


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
        texts=evidence_texts,
        code=code_digest("analyse_evidence"),
    shell:
        "lm-steer analyse evidence --model {input.model:q} --steer {params.folder:q} {params.options:q}"
        " --readings {output.readings:q} --output {output.tokens:q} <<< {params.texts:q} 2>&1 | tee {log:q}"


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
