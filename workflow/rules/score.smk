# Scores: the judge that is trained here, and one process for each model and scorer; of a scorer that is a model, one for
# each shard.
localrules:
    ask,
    gather_scores,


rule judge:
    input:
        held_out=held_out,
        exclude=seen_elsewhere,
    output:
        directory("results/judges/{scorer}"),
    log:
        "results/logs/judge/{scorer}.log",
    benchmark:
        "results/benchmarks/judge/{scorer}.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(3000),
        runtime=30,
    params:
        exclude=exclusions,
        code=code_digest("judge"),
    shell:
        "lm-steer judge --held-out {input.held_out:q} {params.exclude:q} --output {output:q} 2>&1 | tee {log:q}"


rule score:
    input:
        files=scored_files,
        resource=scorer_resource,
        scores=earlier_scores,
    output:
        "results/scores/{model}/{scorer}.parquet",
    log:
        "results/logs/score/{model}.{scorer}.log",
    benchmark:
        "results/benchmarks/score/{model}.{scorer}.tsv"
    wildcard_constraints:
        scorer=any_of([name for name in STUDY["scorers"] if name not in [*MODEL_SCORERS, *ONLINE]]),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        options=scorer_options,
        code=code_digest("score"),
    shell:
        "lm-steer score {params.options:q} --output {output:q} 2>&1 | tee {log:q}"


# The same by a model, on a GPU where there is one: the prompts are scattered, as those of `generate` are.
use rule score as score_by_model with:
    output:
        "results/shards/{scatteritem}/scores/{model}/{scorer}.parquet",
    log:
        "results/logs/score/{model}.{scorer}.{scatteritem}.log",
    benchmark:
        "results/benchmarks/score/{model}.{scorer}.{scatteritem}.tsv"
    wildcard_constraints:
        scorer=any_of(MODEL_SCORERS),
    threads: TORCH_THREADS
    resources:
        gpu=1,
        mem_mb=memory(4000),
        runtime=240,
    params:
        options=scorer_shard_options,
        code=code_digest("score"),


rule gather_scores:
    input:
        gather.shards("results/shards/{scatteritem}/scores/{{model}}/{{scorer}}.parquet"),
    output:
        "results/scores/{model}/{scorer}.parquet",
    log:
        "results/logs/gather/{model}.{scorer}.log",
    wildcard_constraints:
        scorer=any_of(MODEL_SCORERS),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(2000),
    params:
        shards=len(gather.shards("{scatteritem}")),
        code=code_digest("gather"),
    shell:
        "lm-steer gather {output:q} --shards {params.shards} --folder results 2>&1 | tee {log:q}"


# The same by a service, where the network is. It takes all cores, so that two jobs never share one quota.
use rule score as ask with:
    wildcard_constraints:
        scorer=any_of(ONLINE),
    threads: CORES
    resources:
        mem_mb=memory(2000),


rule agreement:
    input:
        files=agreement_files,
        resources=agreement_resources,
    output:
        table=report(
            "results/tables/agreement-{agreement}.csv",
            category="Tables",
            caption="../report/agreement.rst",
            labels={"table": "agreement on {agreement}"},
        ),
        pairs="results/agreement/{agreement}.parquet",
    log:
        "results/logs/agreement/{agreement}.log",
    benchmark:
        "results/benchmarks/agreement/{agreement}.tsv"
    conda:
        ENVIRONMENT
    threads: agreement_threads
    resources:
        gpu=agreement_by_model,
        mem_mb=memory(4000),
        runtime=240,
    params:
        spec=agreement_spec,
        files=agreement_file_options,
        code=code_digest("agreement"),
    shell:
        "lm-steer agreement --spec /dev/stdin {params.files:q} --output {output.table:q} --pairs {output.pairs:q}"
        " <<< {params.spec:q} 2>&1 | tee {log:q}"
