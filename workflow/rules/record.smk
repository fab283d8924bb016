# The record of a run, in which alone dates and times are.
localrules:
    record,


rule record:
    input:
        *TABLES,
        *TEXTS,
        *SCORES,
        *STEERS,
        *DATA,
        study=STUDY_FILE,
    output:
        record="results/run.json",
        benchmarks="results/benchmarks.csv",
    log:
        "results/logs/record.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
    params:
        code=code_digest("record"),
    shell:
        "lm-steer record --study {input.study:q} --output {output.record:q} --benchmarks {output.benchmarks:q}"
        " 2>&1 | tee {log:q}"
