# Tables and the page. They need neither model nor network, and take seconds.
localrules:
    table,
    study,
    page,
    figures,


rule table:
    input:
        unpack(table_input),
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
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
    params:
        spec=table_spec,
        code=code_digest("table"),
    shell:
        "lm-steer table --spec /dev/stdin --output {output:q} <<< {params.spec:q} 2>&1 | tee {log:q}"


# The study beside its results, first of all: so that a run that is not finished can be looked at.
rule study:
    output:
        STUDY_FILE,
    log:
        "results/logs/study.log",
    priority: 100
    conda:
        ENVIRONMENT
    params:
        study=whole_study,
        code=code_digest("study"),
    shell:
        "lm-steer report study --study /dev/stdin --output {output:q} <<< {params.study:q} 2>&1 | tee {log:q}"


rule page:
    input:
        rules.record.output,
        *TABLES,
        *TEXTS,
        *SCORES,
        *STEERS,
        *ANALYSES,
        expand("results/models/{model}", model=MODELS_USED),
        expand("results/data/{dataset}/counts.json", dataset=STUDY["datasets"]),
        expand("results/agreement/{agreement}.parquet", agreement=STUDY["agreement"]),
        study=STUDY_FILE,
    output:
        report(PAGE, category="Page", caption="../report/page.rst"),
    log:
        "results/logs/page.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
    params:
        code=code_digest("page"),
    shell:
        "lm-steer report page --study {input.study:q} --output {output:q} 2>&1 | tee {log:q}"


rule figures:
    input:
        *TABLES,
        *STEERS,
        *ANALYSES,
        study=STUDY_FILE,
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
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
    params:
        code=code_digest("figures"),
    shell:
        "lm-steer report figures --study {input.study:q} --output {output:q} 2>&1 | tee {log:q}"
