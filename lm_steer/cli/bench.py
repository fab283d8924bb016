"""How fast the work is on this machine, and how it grows."""

from pathlib import Path
from typing import Annotated

import typer

from lm_steer import options
from lm_steer.cli.app import CACHE, Cache, Dtype, app
from lm_steer.cli.paths import Input, Writes


@app.command()
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
    growth: Annotated[
        Path | None, typer.Option(help="Instead, how cost grows with each of these, as a figure (svg)."), Writes()
    ] = None,
    cache: Cache = CACHE,
) -> None:
    """Measure generation, training and perplexity beside plain transformers and the machine's limit.

    The last line is all of it as JSON.

    lm-steer bench --shape gpt2-large --dtype bfloat16 --prompts 1000 --samples 25
    """
    import json

    from lm_steer.bench import Load
    from lm_steer.bench import bench as run
    from lm_steer.bench_table import growth_table, table
    from lm_steer.growth import document, plot
    from lm_steer.growth import growth as grow
    from lm_steer.models import LoadedModel, folder_of, load_model
    from lm_steer.shapes import random_model

    def make(vocabulary: int | None = None) -> LoadedModel:
        if model and not vocabulary:
            return load_model(folder_of(model, cache), dtype, device or None)
        return random_model(shape, dtype, device or None, **({"vocab_size": vocabulary} if vocabulary else {}))

    load = Load(prompts, samples, 12, new_tokens, top_p, steps, batch, text_tokens, rank)
    if growth:
        points = grow(make, load)
        plot(points, f"{model or shape}, {dtype}", growth)
        print(growth_table(points))
        print(json.dumps(document(points)))
    else:
        found = run(make(), load)
        print(table(found))
        print(json.dumps(found))
