# Scores: the judge that is trained here, and one process for each model and scorer.
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
        mem_mb=3000,
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
    output:
        "results/scores/{model}/{scorer}.parquet",
    log:
        "results/logs/score/{model}.{scorer}.log",
    benchmark:
        "results/benchmarks/score/{model}.{scorer}.tsv"
    conda:
        ENVIRONMENT
    threads: scorer_threads
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        options=scorer_options,
        code=code_digest("score"),
    shell:
        "lm-steer score {params.options:q} --output {output:q} 2>&1 | tee {log:q}"
