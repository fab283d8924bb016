# Scores: training the judge, then one process per model and scorer, or per shard if the scorer is itself a model.


rule judge:
    input:
        from_plan(plan.judge, "inputs"),
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
        options=from_plan(plan.judge, "options"),
        code=code_digest("judge"),
    shell:
        "lm-steer judge {params.options:q} --output {output:q} 2>&1 | tee {log:q}"


rule score:
    input:
        from_plan(plan.score, "inputs"),
    output:
        "results/scores/{model}/{scorer}.parquet",
    log:
        "results/logs/score/{model}.{scorer}.log",
    benchmark:
        "results/benchmarks/score/{model}.{scorer}.tsv"
    wildcard_constraints:
        scorer=any_of(
            [name for name in STUDY.scorers if name not in [*MODEL_SCORERS, *SIDE_EFFECTS, *ONLINE]]
        ),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        options=from_plan(plan.score, "options"),
        code=code_digest("score"),
    shell:
        "lm-steer score {params.options:q} --output {output:q} 2>&1 | tee {log:q}"


# Scoring by a model, on a GPU if there is one: prompts are scattered as in `generate`.
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
        options=from_plan(plan.score, "options"),
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
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(2000),
    params:
        shards=len(gather.shards("{scatteritem}")),
        code=code_digest("gather"),
    shell:
        "lm-steer gather {output:q} --shards {params.shards} --folder results 2>&1 | tee {log:q}"


# Scoring by a service, on the machine with the network. It takes all cores, so that two jobs never share one quota.
use rule score as ask with:
    wildcard_constraints:
        scorer=any_of(ONLINE),
    localrule: True
    threads: CORES
    resources:
        mem_mb=memory(2000),


# Side effects of steering on unrelated texts: the steers of all settings, one after another.
rule side_effects:
    input:
        from_plan(plan.side_effects, "inputs"),
    output:
        "results/scores/{model}/{scorer}.parquet",
    log:
        "results/logs/side_effects/{model}.{scorer}.log",
    benchmark:
        "results/benchmarks/side_effects/{model}.{scorer}.tsv"
    wildcard_constraints:
        scorer=any_of(SIDE_EFFECTS),
    conda:
        ENVIRONMENT
    threads: TORCH_THREADS
    resources:
        gpu=1,
        mem_mb=memory(4000),
        runtime=60,
    params:
        study=targets.STUDY_FILE,
        options=from_plan(plan.side_effects, "options"),
        part=from_plan(plan.side_effects, "part"),
        code=code_digest("side_effects"),
    shell:
        "lm-steer side-effects --study {params.study} --name {wildcards.model} --scorer {wildcards.scorer}"
        " {params.options:q} --output {output:q} 2>&1 | tee {log:q}"


rule agreement:
    input:
        from_plan(plan.agreement, "inputs"),
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
    threads: threads_of(plan.agreement)
    resources:
        gpu=from_plan(plan.agreement, "by_model"),
        mem_mb=memory(4000),
        runtime=240,
    params:
        study=targets.STUDY_FILE,
        options=from_plan(plan.agreement, "options"),
        part=from_plan(plan.agreement, "part"),
        code=code_digest("agreement"),
    shell:
        "lm-steer agreement --study {params.study} --name {wildcards.agreement} {params.options:q}"
        " --output {output.table:q} --pairs {output.pairs:q} 2>&1 | tee {log:q}"
