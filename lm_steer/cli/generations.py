"""Continuations: sampled here, or made elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from lm_steer.cli import arguments as arg
from lm_steer.cli.app import TEXTS, With, app
from lm_steer.cli.paths import Reads, Writes
from lm_steer.util import options
from lm_steer.util.gpu_lease import leased_device


@app.command(rich_help_panel=TEXTS)
def generate(
    model: arg.Model,
    output: Annotated[Path | None, arg.OUTPUT, Writes()] = None,
    prompts: Annotated[Path | None, typer.Option(help="Prompts: JSON lines in the field's form.")] = None,
    steer: Annotated[list[str] | None, arg.STEER, Reads()] = None,
    at: Annotated[list[str] | None, typer.Option(help="The values of each steer, `detox=5 corpus=1`.")] = None,
    prefix: Annotated[str, typer.Option(help="Words before each prompt, which are not written to the file.")] = "",
    chat: Annotated[bool, typer.Option(help="Prompts are a user's messages, for the model's chat template.")] = False,
    system: Annotated[str, typer.Option(help="A system message before each chat prompt, not written either.")] = "",
    samples: options.Samples = 25,
    new_tokens: options.NewTokens = 20,
    top_p: options.TopP = 0.9,
    top_k: options.TopK = 0,
    seed: options.Seed = 0,
    study: Annotated[Path | None, typer.Option(help="Instead, a study: --model names one of its models.")] = None,
    setting: Annotated[
        str, typer.Option(help="One setting of the study, instead of all common ones."), With("study")
    ] = "",
    shard: arg.ShardOf | None = None,
    dtype: arg.Dtype = "float32",
    vllm: arg.Vllm = "",
    vllm_options: arg.VllmOptions = "",
    cache: arg.Cache = arg.CACHE,
) -> None:
    """Sample continuations of prompts, steered or not, or the continuations of a study.

    lm-steer generate --model gpt2 --prompts prompts.jsonl --steer my-steer --at "style=5 corpus=1" -o out.jsonl
    """
    from lm_steer.data import layout
    from lm_steer.data.shards import Shard
    from lm_steer.generation.jobs import Job, run_jobs, steers_at
    from lm_steer.generation.nucleus import Sampling
    from lm_steer.model.load import load_model
    from lm_steer.model.obtain import folder_of
    from lm_steer.util.errors import LMSteerError

    part = Shard.parse("1-of-1" if shard is None else shard)
    sampling = Sampling(samples=samples, new_tokens=new_tokens, top_p=top_p, top_k=top_k, seed=seed)
    if study and (at or prefix or chat or system or sampling != Sampling(seed=seed)):
        raise LMSteerError(
            "--study says how to sample: leave out --at, --prefix, --chat, --system, --samples, --new-tokens, --top-*"
        )
    if study and not (output or prompts or steer):
        names = {"model": model, "seed": str(seed), "setting": setting, "scatteritem": shard or ""}
        jobs = [Job(**job | {"output": Path(job["output"])}) for job in arg.part_of(study, "generate", **names)]
        model = layout.model("results", model)
    elif output and prompts and not study:
        jobs = [Job(output, prompts, steers_at(steer or [], at or []), {}, prefix, system, chat)]
    else:
        raise LMSteerError("give either --prompts and --output, or --study, which has both")
    if vllm or vllm_options:
        from lm_steer.interop.vllm_engine import vllm_of
        from lm_steer.interop.vllm_jobs import run_jobs as run_in_vllm

        # vLLM uses all GPUs.
        run_in_vllm(vllm_of(folder_of(model, cache), dtype, vllm, vllm_options), jobs, sampling, part)
        return
    with leased_device():
        run_jobs(jobs, lambda: load_model(folder_of(model, cache), dtype), sampling, cache, part)


@app.command(rich_help_panel=TEXTS)
def gather(
    output: Annotated[list[Path], typer.Argument(help="Files below FOLDER to join from their shards."), Writes()],
    shards: Annotated[options.Shards, typer.Option(help="The number of shards.")],
    folder: Annotated[Path, typer.Option(help="The folder of shards/1-of-4/PATH …, and of PATH."), Reads("shards")],
) -> None:
    """Join the shards of generations or scores in the order of the prompts.

    lm-steer gather results/out.jsonl --shards 4 --folder results
    """
    from lm_steer.data.shards import gather as join

    join(output, folder, shards)


@app.command(rich_help_panel=TEXTS)
def external(
    output: arg.Output,
    path: Annotated[Path, typer.Option(help="Generations made elsewhere, JSON lines in the field's form.")],
) -> None:
    """Import generations of another method, to be scored beside those of a study.

    lm-steer external --path dexperts.jsonl -o results/generations/dexperts.jsonl
    """
    from lm_steer.data.prompt_files import read_generations
    from lm_steer.util.files import read_jsonl, write_jsonl

    read_generations(path)
    write_jsonl(output, read_jsonl(path))
