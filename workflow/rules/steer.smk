# Steers: one training for each model, steer and seed. Torch takes all cores, for two such jobs would starve each other.
rule train:
    input:
        given(plan.train, "inputs"),
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
        options=given(plan.train, "options"),
        folder="results/steers/{model}/{steer}/seed{seed}",
        code=code_digest("train"),
    shell:
        "lm-steer train {params.options:q} --seed {wildcards.seed} --output {params.folder:q} 2>&1 | tee {log:q}"


# A steer of another model, carried over.
rule transfer:
    input:
        given(plan.transfer, "inputs"),
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
        options=given(plan.transfer, "options"),
        folder="results/steers/{model}/{steer}/seed{seed}",
        code=code_digest("analyse_transfer"),
    shell:
        "lm-steer analyse transfer {params.options:q} --seed {wildcards.seed} --output {params.folder:q}"
        " 2>&1 | tee {log:q}"


# A LoRA, to stand beside a steer.
rule lora:
    input:
        given(plan.lora, "inputs"),
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
        options=given(plan.lora, "options"),
        code=code_digest("analyse_lora"),
    shell:
        "lm-steer analyse lora {params.options:q} --seed {wildcards.seed} --output {output:q} 2>&1 | tee {log:q}"
