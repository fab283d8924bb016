"""Steers: trained, or taken over from the original code."""

from pathlib import Path
from typing import Annotated

import typer

from lm_steer.cli.app import CACHE, Cache, Dtype, Model, Output, app


@app.command()
def train(
    output: Output,
    model: Model,
    texts: Annotated[Path, typer.Option(help="Training texts (parquet).")],
    dev: Annotated[Path, typer.Option(help="Texts for the dev loss (parquet).")],
    dimensions: Annotated[str, typer.Option(help="Names, by comma; `corpus` is the constant one.")],
    kind: Annotated[str, typer.Option(help="multiply, add or offset.")] = "multiply",
    rank: int = 1000,
    epsilon: float = 1e-3,
    steps: int = 1000,
    batch_size: int = 32,
    learning_rate: float = 1e-2,
    regularization: float = 0.0,
    max_length: int = 256,
    loss_on_padding: bool = False,
    seed: int = 0,
    dtype: Dtype = "float32",
    cache: Cache = CACHE,
) -> None:
    """Train a steer on labelled texts."""
    from lm_steer.models import load_model
    from lm_steer.texts import read_texts
    from lm_steer.train import LabelledTexts, Recipe, about, save
    from lm_steer.train import train as learn

    recipe = Recipe(
        dimensions=tuple(dimensions.split(",")),
        kind=kind,
        rank=rank,
        epsilon=epsilon,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        regularization=regularization,
        max_length=max_length,
        loss_on_padding=loss_on_padding,
        seed=seed,
    )
    frames = [read_texts(path) for path in (texts, dev)]
    train_texts, dev_texts = (LabelledTexts(list(frame["text"]), list(frame["label"])) for frame in frames)
    loaded = load_model(model, dtype)
    steer, log = learn(loaded, train_texts, dev_texts, recipe, cache)
    save(steer, about(loaded, recipe, train_texts), log, output)


@app.command()
def import_original(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of the authors' own code.")],
    output: Output,
    dimensions: Annotated[str, typer.Option(help="Names of its dimensions in their order, by comma.")],
) -> None:
    """Make a steer of a checkpoint of the authors' code, without executing it."""
    from lm_steer.original import import_original as read

    read(checkpoint, tuple(dimensions.split(","))).save_pretrained(output)
