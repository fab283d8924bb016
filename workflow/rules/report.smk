# Tables and the page. They need no model and no network, and take seconds.
rule table:
    input:
        from_plan(plan.table, "inputs"),
    output:
        report(
            "results/tables/{table}.csv",
            category="Tables",
            caption="../report/table.rst",
            labels={"table": "{table}"},
        ),
    log:
        "results/logs/table/{table}.log",
    benchmark:
        "results/benchmarks/table/{table}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
    params:
        study=targets.STUDY_FILE,
        part=from_plan(plan.table, "part"),
        code=code_digest("table"),
    shell:
        "lm-steer table --study {params.study} --name {wildcards.table} --output {output:q} 2>&1 | tee {log:q}"


# Only the record of a run has dates and times.
rule record:
    input:
        targets.table_files(STUDY),
        targets.text_files(STUDY),
        targets.score_files(STUDY),
        targets.trained_files(STUDY),
        targets.data_files(STUDY),
    output:
        record="results/run.json",
        benchmarks="results/benchmarks.csv",
    log:
        "results/logs/record.log",
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
    params:
        study=targets.STUDY_FILE,
        part=fingerprint(STUDY.dump()),
        code=code_digest("record"),
    shell:
        "lm-steer record --study {params.study} --output {output.record:q} --benchmarks {output.benchmarks:q}"
        " 2>&1 | tee {log:q}"


rule page:
    input:
        rules.record.output,
        targets.page_files(STUDY),
    output:
        report(PAGE, category="Page", caption="../report/page.rst"),
    log:
        "results/logs/page.log",
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
    params:
        study=targets.STUDY_FILE,
        part=fingerprint(STUDY.dump()),
        code=code_digest("page"),
    shell:
        "lm-steer report page --study {params.study} --output {output:q} 2>&1 | tee {log:q}"


rule figures:
    input:
        targets.table_files(STUDY),
        targets.trained_files(STUDY),
        targets.analysis_files(STUDY),
    output:
        report(
            directory(FIGURES),
            patterns=["{figure}.svg"],
            category="Figures",
            caption="../report/figure.rst",
            labels={"figure": "{figure}"},
        ),
    log:
        "results/logs/figures.log",
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
    params:
        study=targets.STUDY_FILE,
        part=fingerprint(STUDY.dump()),
        code=code_digest("figures"),
    shell:
        "lm-steer report figures --study {params.study} --output {output:q} 2>&1 | tee {log:q}"
