# What a study starts from: models, labelled texts, prompts. Downloads are local rules; the rest needs no network.
localrules:
    model,
    dataset,
    prompts,


# Models and classifiers, each by its name.
rule model:
    input:
        model_input,
    output:
        directory("results/models/{model}"),
    log:
        "results/logs/model/{model}.log",
    benchmark:
        "results/benchmarks/model/{model}.tsv"
    wildcard_constraints:
        model=any_of([*MODELS_USED, *CLASSIFIERS]),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
    params:
        options=model_options,
        code=code_digest("model"),
    shell:
        "lm-steer model {params.options:q} --output {output:q} 2>&1 | tee {log:q}"


rule dataset:
    input:
        data_input,
    output:
        "results/data/{dataset}/train.parquet",
        "results/data/{dataset}/dev.parquet",
        "results/data/{dataset}/test.parquet",
        "results/data/{dataset}/counts.json",
    log:
        "results/logs/data/{dataset}.log",
    benchmark:
        "results/benchmarks/data/{dataset}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(2000),
    params:
        options=data_options,
        folder="results/data/{dataset}",
        code=code_digest("data"),
    shell:
        "lm-steer data {params.options:q} --output {params.folder:q} 2>&1 | tee {log:q}"


rule prompts:
    input:
        prompt_input,
    output:
        "results/prompts/{prompts}.jsonl",
    log:
        "results/logs/prompts/{prompts}.log",
    benchmark:
        "results/benchmarks/prompts/{prompts}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(1000),
    params:
        options=prompt_options,
        code=code_digest("prompts"),
    shell:
        "lm-steer prompts {params.options:q} --output {output:q} 2>&1 | tee {log:q}"
