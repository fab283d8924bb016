# Analyses: figures over several settings, directions of steers, evidence in texts, and costs.
rule effects:
    input:
        from_plan(plan.effects, "inputs"),
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
        analysis=any_of(targets.analyses(STUDY, *EFFECT_KINDS)),
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(2000),
    params:
        study=targets.STUDY_FILE,
        part=from_plan(plan.effects, "part"),
        code=code_digest("analyse_effects"),
    shell:
        "lm-steer analyse effects --study {params.study} --name {wildcards.analysis} --output {output:q}"
        " 2>&1 | tee {log:q}"


rule directions:
    input:
        from_plan(plan.directions, "inputs"),
    output:
        words="results/analyses/{model}/{analysis}.words.csv",
        spectrum="results/analyses/{model}/{analysis}.spectrum.csv",
    log:
        "results/logs/directions/{model}.{analysis}.log",
    benchmark:
        "results/benchmarks/directions/{model}.{analysis}.tsv"
    wildcard_constraints:
        analysis=any_of(STUDY.analyses.directions),
    conda:
        ENVIRONMENT
    threads: TORCH_THREADS
    resources:
        gpu=1,
        mem_mb=memory(4000),
        runtime=30,
    params:
        options=from_plan(plan.directions, "options"),
        code=code_digest("analyse_directions"),
    shell:
        "lm-steer analyse directions {params.options:q} --spectrum {output.spectrum:q} --output {output.words:q}"
        " 2>&1 | tee {log:q}"


rule evidence:
    input:
        from_plan(plan.evidence, "inputs"),
    output:
        tokens="results/analyses/{model}/{analysis}.tokens.csv",
        readings="results/analyses/{model}/{analysis}.readings.csv",
    log:
        "results/logs/evidence/{model}.{analysis}.log",
    benchmark:
        "results/benchmarks/evidence/{model}.{analysis}.tsv"
    wildcard_constraints:
        analysis=any_of(STUDY.analyses.evidence),
    conda:
        ENVIRONMENT
    threads: TORCH_THREADS
    resources:
        gpu=1,
        mem_mb=memory(4000),
        runtime=30,
    params:
        options=from_plan(plan.evidence, "options"),
        part=from_plan(plan.evidence, "part"),
        code=code_digest("analyse_evidence"),
    shell:
        "lm-steer analyse evidence {params.options:q} --readings {output.readings:q} --output {output.tokens:q}"
        " 2>&1 | tee {log:q}"


# It takes all threads, because other jobs would distort the times.
rule cost:
    input:
        from_plan(plan.cost, "inputs"),
    output:
        "results/analyses/{model}/{analysis}.cost.csv",
    log:
        "results/logs/cost/{model}.{analysis}.log",
    benchmark:
        "results/benchmarks/cost/{model}.{analysis}.tsv"
    wildcard_constraints:
        analysis=any_of(STUDY.analyses.costs),
    conda:
        ENVIRONMENT
    threads: CORES
    resources:
        gpu=1,
        mem_mb=memory(4000),
        runtime=30,
    params:
        options=from_plan(plan.cost, "options"),
        code=code_digest("analyse_cost"),
    shell:
        "lm-steer analyse cost {params.options:q} --output {output:q} 2>&1 | tee {log:q}"
