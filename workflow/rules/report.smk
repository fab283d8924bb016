# Tables and the page. They need neither model nor network, and take seconds.
localrules:
    table,
    page,


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
        "lm-steer table --spec {params.spec:q} --output {output:q} 2>&1 | tee {log:q}"


rule page:
    input:
        rules.record.output,
        *TABLES,
        *TEXTS,
        *SCORES,
        *STEERS,
        expand("results/models/{model}", model=MODELS_USED),
        expand("results/data/{dataset}/counts.json", dataset=STUDY["datasets"]),
        expand("results/agreement/{agreement}.parquet", agreement=STUDY["agreement"]),
    output:
        report(PAGE, category="Page", caption="../report/page.rst"),
    log:
        "results/logs/page.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
    params:
        study=whole_study,
        code=code_digest("page"),
    shell:
        "lm-steer page --study {params.study:q} --output {output:q} 2>&1 | tee {log:q}"
