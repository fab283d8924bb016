"""Judges, the scores they give, and how well they agree."""

from pathlib import Path
from typing import Annotated

import typer

from lm_steer.cli.app import CACHE, OUTPUT, SCORES, Cache, Dtype, Output, StudyFile, app, given_by
from lm_steer.cli.paths import Input, Inputs, Writes
from lm_steer.util.options import Count
from lm_steer.util.outputs import JUDGE


@app.command(rich_help_panel=SCORES)
def judge(
    output: Annotated[Path, OUTPUT, Writes(JUDGE)],
    held_out: Annotated[Input, typer.Option(help="Labelled texts for its accuracy (parquet); not trained on.")],
    exclude: Annotated[Inputs, typer.Option(help="Texts or prompts it must not have seen; repeated.")],
) -> None:
    """Train the embedded sentiment judge.

    lm-steer judge --held-out results/data/snippets/test.parquet --exclude results/prompts/neutral.jsonl -o judge
    """
    from lm_steer.score.bag_of_words import train_judge

    train_judge(exclude, held_out, output)


@app.command(rich_help_panel=SCORES)
def score(
    output: Output,
    kind: Annotated[
        str, typer.Option(help="profanity-check, bag-of-words, causal-lm, perspective, classifier, module:Class.")
    ],
    file: Annotated[Inputs, typer.Option(help="A generation file; repeated.")],
    resource: Annotated[
        Input, typer.Option(help="The judge's folder, or the model's of causal-lm and classifier.")
    ] = "",
    prompts: Annotated[Count, typer.Option(help="How many prompts of each file, the first ones; 0 for all.")] = 0,
    scores: Annotated[Input, typer.Option(help="Earlier scores (JSON lines), imported first.")] = "",
    option: Annotated[
        list[str] | None, typer.Option(help="A key of the kind, see config/README.md: `mode=replay`; repeated.")
    ] = None,
    shard: Annotated[str, typer.Option(help="Which part of the prompts: 2-of-4 is the second of four.")] = "1-of-1",
    dtype: Dtype = "float32",
    cache: Cache = CACHE,
) -> None:
    """Score generation files: one row per generation.

    lm-steer score --kind profanity-check --file out.jsonl -o out.parquet
    """
    from lm_steer.data.shards import Shard
    from lm_steer.score.registry import kind_of
    from lm_steer.score.run import score_files
    from lm_steer.util.errors import LMSteerError
    from lm_steer.util.gpu_lease import leased_device

    part = Shard.parse(shard)
    keys = dict(one.partition("=")[::2] for one in option or ())
    if wrong := [one for one in option or () if "=" not in one]:
        raise LMSteerError(f"--option: expected a key and its value, as `mode=replay`, found {wrong[0]!r}")
    with leased_device(kind_of(kind).by_model):
        score_files(kind, resource, file, output, cache, prompts, scores, part, dtype=dtype, **keys)


@app.command(rich_help_panel=SCORES)
def agreement(
    output: Output,
    file: Annotated[Inputs, typer.Option(help="Texts with Perspective's scores, in RealToxicityPrompts' form.")],
    study: StudyFile,
    name: Annotated[str, typer.Option(help="The block of its `agreement` whose scorers judge.")],
    pairs: Annotated[Path | None, typer.Option(help="Where the scores themselves go (parquet)."), Writes()] = None,
    cache: Cache = CACHE,
) -> None:
    """Measure how well scorers of toxicity agree with Perspective, with intervals.

    lm-steer agreement --file prompts.jsonl --study results/study.json --name rtp -o agreement.csv
    """
    from lm_steer.score.registry import kind_of
    from lm_steer.tables.agreement import write_agreement
    from lm_steer.util.gpu_lease import leased_device

    scorers = given_by(study, "agreement", agreement=name)
    with leased_device(any(kind_of(block["kind"]).by_model for block in scorers.values())):
        write_agreement(file, scorers, output, cache, pairs)
