# Continuations: one process makes every setting of a model and seed, for loading a model is dear. What an earlier run
# has made under the same steer, values, prompts and sampling is found again, so that one edited setting costs itself.
# The prompts are scattered over `shards` such processes.
localrules:
    external,
    gather,


scattergather:
    shards=STUDY["shards"],


rule external:
    input:
        own_generations,
    output:
        f"results/generations/{EXTERNAL}/seed0/{{setting}}.jsonl",
    log:
        "results/logs/external/{setting}.log",
    benchmark:
        "results/benchmarks/external/{setting}.tsv"
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
        model="results/models/{model}",
        steers=steers_used,
        prompts=prompts_used,
    output:
        expand(
            "results/shards/{{scatteritem}}/generations/{{model}}/seed{{seed}}/{setting}.jsonl",
            setting=SETTINGS,
        ),
    log:
        "results/logs/generate/{model}.seed{seed}.{scatteritem}.log",
    benchmark:
        "results/benchmarks/generate/{model}.seed{seed}.{scatteritem}.tsv"
    conda:
        ENVIRONMENT
    threads: TORCH_THREADS
    resources:
        gpu=1,
        mem_mb=memory(4000),
        runtime=240,
    params:
        jobs=generation_jobs,
        sampling=options(STUDY["sampling"], ["samples", "new_tokens", "top_p", "top_k"]),
        code=code_digest("generate"),
    shell:
        "lm-steer generate --model {input.model:q} {params.sampling:q} --seed {wildcards.seed}"
        " --shard {wildcards.scatteritem} {params.jobs:q} 2>&1 | tee {log:q}"


rule gather:
    input:
        gather.shards(
            "results/shards/{scatteritem}/generations/{{model}}/seed{{seed}}/{setting}.jsonl",
            setting=SETTINGS,
        ),
    output:
        expand("results/generations/{{model}}/seed{{seed}}/{setting}.jsonl", setting=SETTINGS),
    log:
        "results/logs/gather/{model}.seed{seed}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
    params:
        shards=len(gather.shards("{scatteritem}")),
        code=code_digest("gather"),
    shell:
        "lm-steer gather {output:q} --shards {params.shards} --folder results 2>&1 | tee {log:q}"
