# The inputs of a study: models, labelled texts, prompts. Downloads are local rules; the rest needs no network.
# Models and classifiers.
rule model:
    input:
        from_plan(plan.model, "inputs"),
    output:
        directory("results/models/{model}"),
    log:
        "results/logs/model/{model}.log",
    benchmark:
        "results/benchmarks/model/{model}.tsv"
    wildcard_constraints:
        model=any_of([*STUDY.models_used, *targets.scorers(STUDY, "classifier")]),
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
    params:
        options=from_plan(plan.model, "options"),
        code=code_digest("model"),
    shell:
        "lm-steer model {params.options:q} --output {output:q} 2>&1 | tee {log:q}"


rule dataset:
    input:
        from_plan(plan.dataset, "inputs"),
    output:
        "results/data/{dataset}/train.parquet",
        "results/data/{dataset}/dev.parquet",
        "results/data/{dataset}/test.parquet",
        "results/data/{dataset}/counts.json",
    log:
        "results/logs/data/{dataset}.log",
    benchmark:
        "results/benchmarks/data/{dataset}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(2000),
    params:
        options=from_plan(plan.dataset, "options"),
        folder="results/data/{dataset}",
        code=code_digest("data"),
    shell:
        "lm-steer data {params.options:q} --output {params.folder:q} 2>&1 | tee {log:q}"


rule prompts:
    input:
        from_plan(plan.prompts, "inputs"),
    output:
        "results/prompts/{prompts}.jsonl",
    log:
        "results/logs/prompts/{prompts}.log",
    benchmark:
        "results/benchmarks/prompts/{prompts}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(1000),
    params:
        options=from_plan(plan.prompts, "options"),
        code=code_digest("prompts"),
    shell:
        "lm-steer prompts {params.options:q} --output {output:q} 2>&1 | tee {log:q}"
