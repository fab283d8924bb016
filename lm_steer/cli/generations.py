"""Continuations: sampled here, or taken in from elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from lm_steer.cli.app import CACHE, Cache, Dtype, Model, Output, app
from lm_steer.cli.paths import Reads, Writes, below
from lm_steer.util import options
from lm_steer.util.gpu_lease import leased_device


def _paths_of(job: str) -> list[str]:
    """Return output, prompts and steers of a job; one that is not well-formed is refused when it is read."""
    output, prompts, steers, *_ = [*job.split("|"), "", ""]
    return [output, prompts, *(term.split()[0] for term in steers.split(" + ") if term.strip())]


@app.command()
@leased_device()
def generate(
    model: Model,
    job: Annotated[
        list[str],
        typer.Option(
            help="OUT|PROMPTS|STEER, repeated: the file to write, the prompt file, and the steer with its values "
            "(`FOLDER name=5 corpus=1`, several folders joined by ` + `, or nothing). A fourth part, `top_p=1.0 "
            "top_k=50`, is sampling of this file's own."
        ),
        Reads(lambda jobs: [path for job in jobs for path in _paths_of(job)[1:]]),
        Writes(find=lambda jobs: [_paths_of(job)[0] for job in jobs]),
    ],
    samples: options.Samples = 25,
    new_tokens: options.NewTokens = 20,
    top_p: options.TopP = 0.9,
    top_k: options.TopK = 0,
    seed: options.Seed = 0,
    shard: Annotated[str, typer.Option(help="Which part of the prompts: 2-of-4 is the second of four.")] = "1-of-1",
    dtype: Dtype = "float32",
    cache: Cache = CACHE,
) -> None:
    """Sample continuations of prompts, with and without steers.

    lm-steer generate --model results/models/smollm2 --job "out.jsonl|prompts.jsonl|my-steer style=5"
    """
    from lm_steer.data.shards import Shard
    from lm_steer.generation.continuations import Sampling
    from lm_steer.generation.jobs import parse_job, run_jobs
    from lm_steer.model.load import load_model
    from lm_steer.model.obtain import folder_of

    part = Shard.parse(shard)
    sampling = Sampling(samples=samples, new_tokens=new_tokens, top_p=top_p, top_k=top_k, seed=seed)
    run_jobs(
        [parse_job(text) for text in job], lambda: load_model(folder_of(model, cache), dtype), sampling, cache, part
    )


@app.command()
def gather(
    output: Annotated[list[Path], typer.Argument(help="Files to be made of their shards, below FOLDER."), Writes()],
    shards: Annotated[options.Shards, typer.Option(help="How many shards there are.")],
    folder: Annotated[
        Path, typer.Option(help="Where shards/1-of-4/PATH and so on are, and PATH goes."), Reads(below("shards"))
    ],
) -> None:
    """Join generations, or scores, that were made in shards, in the order of the prompts.

    lm-steer gather results/out.jsonl --shards 4 --folder results
    """
    from lm_steer.data.shards import gather as join

    join(output, folder, shards)


@app.command()
def external(
    output: Output,
    path: Annotated[Path, typer.Option(help="Generations made elsewhere, JSON lines in the field's form.")],
) -> None:
    """Take in generations of another method, to be scored beside one's own.

    lm-steer external --path dexperts.jsonl -o results/generations/dexperts.jsonl
    """
    from lm_steer.data.prompt_files import read_generations
    from lm_steer.util.files import read_jsonl, write_jsonl

    read_generations(path)
    write_jsonl(output, read_jsonl(path))
