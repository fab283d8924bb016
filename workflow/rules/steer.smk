# Steers: one training for each model, steer and seed. Torch takes all cores, for two such jobs would starve each other.
rule train:
    input:
        unpack(training_texts),
        model="results/models/{model}",
    output:
        expand("results/steers/{{model}}/{{steer}}/seed{{seed}}/{file}", file=STEER_FILES),
    log:
        "results/logs/train/{model}.{steer}.seed{seed}.log",
    benchmark:
        "results/benchmarks/train/{model}.{steer}.seed{seed}.tsv"
    wildcard_constraints:
        steer=any_of(TRAINED),
    conda:
        ENVIRONMENT
    threads: TORCH_THREADS
    resources:
        gpu=1,
        mem_mb=memory(4000),
        runtime=120,
    params:
        options=training_options,
        folder="results/steers/{model}/{steer}/seed{seed}",
        code=code_digest("train"),
    shell:
        "lm-steer train --model {input.model:q} --texts {input.train:q} --dev {input.dev:q} {params.options:q}"
        " --seed {wildcards.seed} --output {params.folder:q} 2>&1 | tee {log:q}"
