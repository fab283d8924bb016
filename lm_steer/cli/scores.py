"""Judges, their scores, how well they agree, and the store of scores."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lm_steer.cli import arguments as arg
from lm_steer.cli.app import SCORES, Commands, With, app
from lm_steer.cli.paths import Input, Inputs, Reads, Writes
from lm_steer.util.errors import LMSteerError, presentable
from lm_steer.util.gpu_lease import leased_device
from lm_steer.util.options import Count, Positive
from lm_steer.util.outputs import JUDGE

if TYPE_CHECKING:
    from lm_steer.score.store import ScoreStore

store = Commands(no_args_is_help=True, help="Stored scores: list, export and import them.")
app.add_typer(store, name="store", rich_help_panel=SCORES)


@app.command(rich_help_panel=SCORES)
def judge(
    output: Annotated[Path, arg.OUTPUT, Writes(JUDGE)],
    held_out: Annotated[Input, typer.Option(help="Labelled texts for its accuracy (parquet), not for training.")],
    exclude: Annotated[Inputs, typer.Option(help="Texts or prompts that it must not see; repeated.")],
) -> None:
    """Train the embedded sentiment judge.

    lm-steer judge --held-out results/data/snippets/test.parquet --exclude results/prompts/neutral.jsonl -o judge
    """
    from lm_steer.score.kinds.bag_of_words import train_judge

    train_judge(exclude, held_out, output)


@app.command(rich_help_panel=SCORES)
def score(
    output: arg.Output,
    kind: Annotated[str, typer.Option(help="A kind of scorer, as in a study: profanity-check, …, or module:Class.")],
    file: Annotated[Inputs, typer.Option(help="A generation file; repeated.")],
    resource: Annotated[Input, typer.Option(help="The folder of the judge or model, if the kind has one.")] = "",
    prompts: Annotated[Count, typer.Option(help="How many prompts of each file, the first ones; 0 for all.")] = 0,
    scores: Annotated[Input, typer.Option(help="Earlier scores (JSON lines), imported first.")] = "",
    option: Annotated[
        list[str] | None,
        typer.Option(help="A key of the kind, see config/README.md: `mode=replay`; repeated."),
        Reads(),
    ] = None,
    shard: arg.ShardOf = "1-of-1",
    dtype: arg.Dtype = "float32",
    vllm: arg.Vllm = "",
    vllm_options: arg.VllmOptions = "",
    cache: arg.Cache = arg.CACHE,
) -> None:
    """Score generation files: one row per generation.

    lm-steer score --kind profanity-check --file out.jsonl -o out.parquet
    """
    from lm_steer.data.shards import Shard
    from lm_steer.score.registry import kind_of
    from lm_steer.score.run import score_files
    from lm_steer.util.words import pairs_of

    part = Shard.parse(shard)
    keys = pairs_of("--option", option or (), "mode=replay")
    judge = None
    if vllm or vllm_options:
        from lm_steer.interop.vllm_engine import vllm_of
        from lm_steer.interop.vllm_perplexity import causal_lm

        if kind != "causal-lm":
            raise LMSteerError(f"--vllm is for --kind causal-lm, not for {kind}")
        if not resource:
            raise LMSteerError("--vllm: name the folder of the judging model by --resource")
        judge = causal_lm(vllm_of(Path(resource), dtype, vllm, vllm_options))
    with leased_device(kind_of(kind).by_model and not vllm):
        score_files(kind, resource, file, output, cache, prompts, scores, part, judge, dtype=dtype, **keys)


@app.command(rich_help_panel=SCORES)
@leased_device()
def side_effects(
    output: arg.Output,
    study: arg.StudyFile,
    name: Annotated[str, typer.Option(help="The model's name in the study.")],
    scorer: Annotated[str, typer.Option(help="A scorer of the study, of the kind held-out or lm-eval.")],
    model: arg.Model,
    texts: Annotated[Input, typer.Option(help="Labelled texts (parquet), whose labels do not matter.")] = "",
    count: Annotated[Positive, typer.Option(help="How many of them."), With("texts")] = 100,
    task: Annotated[str, typer.Option(help="Instead of texts, a task of lm-evaluation-harness.")] = "",
    metric: Annotated[str, typer.Option(help="The task's metric."), With("task")] = "acc",
    limit: Annotated[Count, typer.Option(help="How many of its questions; 0 for all."), With("task")] = 0,
    include: Annotated[str, typer.Option(help="A folder with your own task files."), Reads(), With("task")] = "",
    dtype: arg.Dtype = "float32",
    cache: arg.Cache = arg.CACHE,
) -> None:
    """Measure the loss on texts, or a task's metric, under the steers of a study's settings.

    lm-steer side-effects --study results/study.json --name smollm2 --scorer films --model M --texts t.parquet -o out
    """
    from lm_steer.analyse.held_out import write_held_out
    from lm_steer.model.load import load_model
    from lm_steer.model.obtain import folder_of

    measured = arg.part_of(study, "side_effects", model=name, scorer=scorer)
    if bool(texts) == bool(task):
        raise LMSteerError("give either --texts or --task")
    if task:
        from lm_steer.interop.lm_eval import write_task

        write_task(folder_of(model, cache), measured, task, output, metric, limit, include, dtype)
        return
    write_held_out(load_model(folder_of(model, cache), dtype), measured, texts, count, output, cache)


@app.command(rich_help_panel=SCORES)
def agreement(
    output: arg.Output,
    file: Annotated[Inputs, typer.Option(help="Texts with Perspective's scores, in RealToxicityPrompts' form.")],
    study: arg.StudyFile,
    name: Annotated[str, typer.Option(help="The block of its `agreement` whose scorers judge.")],
    pairs: Annotated[
        Path | None, typer.Option(help="Where to write the scores themselves (parquet)."), Writes()
    ] = None,
    cache: arg.Cache = arg.CACHE,
) -> None:
    """Measure how well scorers of toxicity agree with Perspective, with intervals.

    lm-steer agreement --file prompts.jsonl --study results/study.json --name rtp -o agreement.csv
    """
    from lm_steer.score.registry import kind_of
    from lm_steer.tables.agreement import write_agreement

    scorers = arg.part_of(study, "agreement", agreement=name)
    with leased_device(any(kind_of(block["kind"]).by_model for block in scorers.values())):
        write_agreement(file, scorers, output, cache, pairs)


def _opened(cache: Path) -> "ScoreStore":
    """Open the store of a cache folder; LMSteerError if it has none, because opening would create one."""
    from lm_steer.score.store import STORE, ScoreStore

    if not (cache / STORE).is_file():
        raise LMSteerError(f"--cache: {cache} has no scores: name the cache folder of a run that has scored texts")
    return ScoreStore(cache / STORE)


@store.command("export")
def store_export(
    output: arg.Output,
    scorer: Annotated[str | None, typer.Option(help="Only scores of this scorer.")] = None,
    version: Annotated[str | None, typer.Option(help="Only scores of this version.")] = None,
    file: Annotated[list[str] | None, typer.Option(help="A file whose texts to write with them."), Reads()] = None,
    cache: arg.Cache = arg.CACHE,
) -> None:
    """Write stored scores as JSON lines, to be imported elsewhere.

    lm-steer store export --scorer perspective -o scores.jsonl
    """
    from lm_steer.score.exchange import export_scores

    export_scores(_opened(cache), output, scorer, version, file or ())


@store.command("import")
def store_import(
    path: Annotated[list[Path], typer.Argument(help="Files of `lm-steer store export`.")], cache: arg.Cache = arg.CACHE
) -> None:
    """Import scores from JSON lines; a score that is stored with another value is refused.

    lm-steer store import scores.jsonl
    """
    from lm_steer.score.exchange import import_scores
    from lm_steer.score.store import STORE, ScoreStore

    for file in path:
        import_scores(ScoreStore(cache / STORE), file)


@store.command("list")
def store_list(cache: arg.Cache = arg.CACHE, as_json: arg.AsJson = False) -> None:
    """List the scorers and versions with scores, the number of texts, and when they were scored (UTC).

    lm-steer store list --json
    """
    for row in _opened(cache).holdings():
        line = f"{row.scorer}\t{row.version}\t{row.texts} texts\t{row.first} to {row.last}"
        print(json.dumps(asdict(row)) if as_json else presentable(line))
