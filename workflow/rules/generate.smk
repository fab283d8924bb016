# Continuations: one process generates all settings of a model and seed, because loading a model is expensive. Texts of an
# earlier run with the same steer, values, prompts and sampling are reused, so that editing one setting costs only that one.
# The prompts are scattered over `shards` such processes. Unsteered settings are sampled only under the first seed.
scattergather:
    shards=STUDY.shards,


rule external:
    input:
        from_plan(plan.external, "inputs"),
    output:
        f"results/generations/{layout.EXTERNAL}/seed0/{{setting}}.jsonl",
    log:
        "results/logs/external/{setting}.log",
    benchmark:
        "results/benchmarks/external/{setting}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory(2000),
    params:
        code=code_digest("external"),
    shell:
        "lm-steer external --path {input:q} --output {output:q} 2>&1 | tee {log:q}"


rule generate:
    input:
        from_plan(plan.generate, "inputs"),
    output:
        expand(
            "results/shards/{{scatteritem}}/generations/{{model}}/seed{{seed}}/{setting}.jsonl",
            setting=targets.together(STUDY),
        ),
    log:
        "results/logs/generate/{model}.seed{seed}.{scatteritem}.log",
    benchmark:
        "results/benchmarks/generate/{model}.seed{seed}.{scatteritem}.tsv"
    wildcard_constraints:
        seed=any_of(STUDY.seeds[:1]),
    conda:
        ENVIRONMENT
    threads: TORCH_THREADS
    resources:
        gpu=1,
        mem_mb=memory(4000),
        runtime=240,
    params:
        study=targets.STUDY_FILE,
        options=from_plan(plan.generate, "options"),
        part=from_plan(plan.generate, "part"),
        code=code_digest("generate"),
    shell:
        "lm-steer generate --study {params.study} --model {wildcards.model} {params.options:q}"
        " --seed {wildcards.seed} --shard {wildcards.scatteritem} 2>&1 | tee {log:q}"


rule gather:
    input:
        gather.shards(
            "results/shards/{scatteritem}/generations/{{model}}/seed{{seed}}/{setting}.jsonl",
            setting=targets.together(STUDY),
        ),
    output:
        expand("results/generations/{{model}}/seed{{seed}}/{setting}.jsonl", setting=targets.together(STUDY)),
    log:
        "results/logs/gather/{model}.seed{seed}.log",
    wildcard_constraints:
        seed=any_of(STUDY.seeds[:1]),
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
    params:
        shards=len(gather.shards("{scatteritem}")),
        code=code_digest("gather"),
    shell:
        "lm-steer gather {output:q} --shards {params.shards} --folder results 2>&1 | tee {log:q}"


# Further seeds are further trainings, for the settings of tables that use a steer.
use rule generate as generate_further with:
    output:
        expand(
            "results/shards/{{scatteritem}}/generations/{{model}}/seed{{seed}}/{setting}.jsonl",
            setting=targets.together(STUDY, further=True),
        ),
    wildcard_constraints:
        seed=any_of(STUDY.seeds[1:]),


use rule gather as gather_further with:
    input:
        gather.shards(
            "results/shards/{scatteritem}/generations/{{model}}/seed{{seed}}/{setting}.jsonl",
            setting=targets.together(STUDY, further=True),
        ),
    output:
        expand(
            "results/generations/{{model}}/seed{{seed}}/{setting}.jsonl",
            setting=targets.together(STUDY, further=True),
        ),
    wildcard_constraints:
        seed=any_of(STUDY.seeds[1:]),


# Continuations of settings that not every model has, or that use an adapter: one job each.
rule generate_apart:
    input:
        from_plan(plan.generate, "inputs"),
    output:
        "results/generations/{model}/seed{seed}/{setting}.jsonl",
    log:
        "results/logs/generate/{model}.{setting}.seed{seed}.log",
    benchmark:
        "results/benchmarks/generate/{model}.{setting}.seed{seed}.tsv"
    wildcard_constraints:
        setting=any_of(targets.apart(STUDY)),
        model=any_of(targets.writers(STUDY)),
    conda:
        ENVIRONMENT
    threads: TORCH_THREADS
    resources:
        gpu=1,
        mem_mb=memory(4000),
        runtime=240,
    params:
        study=targets.STUDY_FILE,
        options=from_plan(plan.generate, "options"),
        part=from_plan(plan.generate, "part"),
        code=code_digest("generate"),
    shell:
        "lm-steer generate --study {params.study} --model {wildcards.model} {params.options:q}"
        " --seed {wildcards.seed} --setting {wildcards.setting} 2>&1 | tee {log:q}"
