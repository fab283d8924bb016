# Steers: one training per model, steer and seed, on all cores, because two torch jobs would starve each other.
rule train:
    input:
        from_plan(plan.train, "inputs"),
    output:
        expand("results/steers/{{model}}/{{steer}}/seed{{seed}}/{file}", file=layout.STEER_FILES),
    log:
        "results/logs/train/{model}.{steer}.seed{seed}.log",
    benchmark:
        "results/benchmarks/train/{model}.{steer}.seed{seed}.tsv"
    wildcard_constraints:
        steer=any_of(targets.steers(STUDY)),
    conda:
        ENVIRONMENT
    threads: TORCH_THREADS
    resources:
        gpu=1,
        mem_mb=memory(4000),
        runtime=120,
    params:
        options=from_plan(plan.train, "options"),
        folder="results/steers/{model}/{steer}/seed{seed}",
        code=code_digest("train"),
    shell:
        "lm-steer train {params.options:q} --seed {wildcards.seed} --output {params.folder:q} 2>&1 | tee {log:q}"


# A steer transferred from another model.
rule transfer:
    input:
        from_plan(plan.transfer, "inputs"),
    output:
        expand("results/steers/{{model}}/{{steer}}/seed{{seed}}/{file}", file=layout.STEER_FILES),
    log:
        "results/logs/transfer/{model}.{steer}.seed{seed}.log",
    benchmark:
        "results/benchmarks/transfer/{model}.{steer}.seed{seed}.tsv"
    wildcard_constraints:
        steer=any_of(targets.steers(STUDY, carried_over=True)),
    conda:
        ENVIRONMENT
    threads: TORCH_THREADS
    resources:
        mem_mb=memory(6000),
        runtime=60,
    params:
        options=from_plan(plan.transfer, "options"),
        folder="results/steers/{model}/{steer}/seed{seed}",
        code=code_digest("analyse_transfer"),
    shell:
        "lm-steer analyse transfer {params.options:q} --seed {wildcards.seed} --output {params.folder:q}"
        " 2>&1 | tee {log:q}"


# A LoRA, as a baseline for a steer.
rule lora:
    input:
        from_plan(plan.lora, "inputs"),
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
        options=from_plan(plan.lora, "options"),
        code=code_digest("analyse_lora"),
    shell:
        "lm-steer analyse lora {params.options:q} --seed {wildcards.seed} --output {output:q} 2>&1 | tee {log:q}"
