"""How fast the work is on this machine."""

from typing import Annotated

import typer

from lm_steer.cli.app import BEYOND, CACHE, Cache, Dtype, app
from lm_steer.cli.paths import Input
from lm_steer.util import options


@app.command(rich_help_panel=BEYOND)
def bench(
    model: Annotated[Input, typer.Option(help="A model, as the other commands take it; instead of a shape.")] = "",
    shape: Annotated[str, typer.Option(help="Random weights of a known shape: gpt2, gpt2-large, …")] = "pythia-70m",
    device: Annotated[str, typer.Option(help="cpu or cuda; the first GPU where there is one.")] = "",
    dtype: Dtype = "float32",
    prompts: Annotated[
        options.Positive, typer.Option(help="Prompts to continue, and whose continuations are scored.")
    ] = 32,
    samples: Annotated[options.Samples, typer.Option(help="Continuations of each.")] = 5,
    new_tokens: options.NewTokens = 20,
    top_p: options.TopP = 0.9,
    steps: Annotated[options.Steps, typer.Option(help="Training steps.")] = 4,
    batch: Annotated[options.BatchSize, typer.Option(help="Texts a step.")] = 16,
    text_tokens: Annotated[options.AtLeastTwo, typer.Option(help="Tokens of a training text.")] = 32,
    rank: options.Rank = 1000,
    cache: Cache = CACHE,
) -> None:
    """Measure generation, training and perplexity beside plain transformers and the machine's limit.

    The last line is all of it as JSON.

    lm-steer bench --shape gpt2-large --dtype bfloat16 --prompts 1000 --samples 25
    """
    import json

    from lm_steer.bench.run import Load
    from lm_steer.bench.run import bench as run
    from lm_steer.bench.shapes import random_model
    from lm_steer.bench.table import table
    from lm_steer.model.load import load_model
    from lm_steer.model.obtain import folder_of

    load = Load(prompts, samples, 12, new_tokens, top_p, steps, batch, text_tokens, rank)
    if model:
        loaded = load_model(folder_of(model, cache), dtype, device or None)
    else:
        loaded = random_model(shape, dtype, device or None)
    found = run(loaded, load)
    print(table(found))
    print(json.dumps(found))
