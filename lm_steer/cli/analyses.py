"""Analyses: effects of several settings, a steer's directions, evidence in texts, transfer, a LoRA, and costs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lm_steer.cli import arguments as arg
from lm_steer.cli.app import RESULTS, Commands, With, app
from lm_steer.cli.paths import Input, Writes
from lm_steer.util import options
from lm_steer.util.gpu_lease import leased_device
from lm_steer.util.outputs import ADAPTER, STEER

analyse = Commands(no_args_is_help=True, help="Analyses of steers: transfer, directions, evidence, effects, cost.")
app.add_typer(analyse, name="analyse", rich_help_panel=RESULTS)


@analyse.command("transfer")
def analyse_transfer(
    output: Annotated[Path, arg.OUTPUT, Writes(STEER)],
    steer: arg.SteerFolder,
    source: Annotated[Input, typer.Option(help="The model it was trained on, as for other commands.")],
    target: Annotated[Input, typer.Option(help="The model to transfer it to.")],
    method: Annotated[Literal["least-squares", "as-published", "inverse"], typer.Option()] = "least-squares",
    anchors: Annotated[
        options.AtLeastTwo, typer.Option(help="At most this many shared tokens, the first ones.")
    ] = 4000,
    seed: Annotated[options.Seed, typer.Option(help="Initializes Adam's map, for as-published.")] = 0,
    cache: arg.Cache = arg.CACHE,
) -> None:
    """Transfer a steer to another model by the tokens that both vocabularies share.

    lm-steer analyse transfer --steer my-steer --source gpt2-large --target gpt2 -o carried
    """
    from lm_steer.analyse.transfer import transfer
    from lm_steer.core.steer import Steer
    from lm_steer.model.load import load_model
    from lm_steer.model.obtain import folder_of
    from lm_steer.util.files import write_jsonl

    origin, other = (load_model(folder_of(model, cache), device="cpu") for model in (source, target))
    carried = transfer(Steer.from_pretrained(steer), origin, other, method, anchors=anchors, seed=seed)
    carried.save_pretrained(output)
    write_jsonl(output / "training.jsonl", [carried.about["transfer"]])


@analyse.command("directions")
@leased_device()
def analyse_directions(
    output: arg.Output,
    spectrum: Annotated[Path, typer.Option(help="Where to write the singular values (csv)."), Writes()],
    model: arg.Model,
    steer: arg.SteerFolder,
    dimension: arg.Dimension,
    count: Annotated[options.AtLeastTwo, typer.Option(help="How many directions.")] = 8,
    words: Annotated[options.Positive, typer.Option(help="How many words at each end.")] = 12,
    texts: Annotated[Path | None, typer.Option(help="Labelled texts (parquet) that orient the directions.")] = None,
    judge: Annotated[str, typer.Option(help="The kind of a scorer that judges both ends.")] = "",
    resource: Annotated[Input, typer.Option(help="The judge's folder, if it has one."), With("judge")] = "",
    dtype: arg.Dtype = "float32",
    cache: arg.Cache = arg.CACHE,
) -> None:
    """Write the singular directions of a steer as words.

    lm-steer analyse directions --model gpt2 --steer my-steer --dimension detox --spectrum s.csv -o words.csv
    """
    from lm_steer.analyse.directions import CONTEXTS, directions, singular, write_directions
    from lm_steer.core.steer import Steer
    from lm_steer.data.labelled import require_texts
    from lm_steer.model.load import load_model
    from lm_steer.model.obtain import folder_of
    from lm_steer.score.registry import kind_of
    from lm_steer.score.run import STORE, make_scorer
    from lm_steer.score.store import Item, ScoreStore
    from lm_steer.util.errors import LMSteerError
    from lm_steer.util.formats import read_parquet

    learned = Steer.from_pretrained(steer)
    values = singular(learned, dimension)[1]
    if judge and kind_of(judge).yields == "perplexity":
        raise LMSteerError(f"--judge: {judge} yields perplexity, which is undefined for single words: choose another")
    scorer = make_scorer(judge, resource) if judge else None
    contexts = list(read_parquet(texts, ["text"])["text"])[:CONTEXTS] if texts else None
    require_texts(contexts or (), str(texts))

    def judged(listed: list[str]) -> list[float]:
        assert scorer is not None
        return [score[0] for score in ScoreStore(cache / STORE).scores(scorer, [Item("", word) for word in listed])]

    ends = directions(
        learned,
        load_model(folder_of(model, cache), dtype),
        dimension,
        count=count,
        words=words,
        texts=contexts,
        judge=judged if scorer else None,
        cache=cache / "texts.sqlite",
    )
    write_directions(ends, values, output, spectrum)


@analyse.command("evidence")
@leased_device()
def analyse_evidence(
    output: arg.Output,
    readings: Annotated[Path, typer.Option(help="Where to write the likelihood curves (csv)."), Writes()],
    model: arg.Model,
    steer: arg.SteerFolder,
    dimension: arg.Dimension,
    at: arg.At,
    text: Annotated[list[str] | None, typer.Option(help="A text; repeated.")] = None,
    path: Annotated[Path | None, typer.Option(help="Instead, JSON lines with texts and marked spans.")] = None,
    study: Annotated[
        Path | None, typer.Option(help="Instead, a study whose block `evidence` has the texts."), With("name")
    ] = None,
    name: Annotated[str, typer.Option(help="The name of that block."), With("study")] = "",
    opposite: Annotated[bool, typer.Option(help="Compare with the opposite value.")] = False,
    spans: Annotated[options.Positive, typer.Option(help="At most this many spans.")] = 4,
    length: Annotated[options.Positive, typer.Option(help="At most this many tokens of a span.")] = 10,
    reading: Annotated[
        list[float] | None, options.A_STEER_VALUE, typer.Option(help="A value of the likelihood curve; repeated.")
    ] = None,
    dtype: arg.Dtype = "float32",
    cache: arg.Cache = arg.CACHE,
) -> None:
    """Find where texts show a style, and the steer value that explains each best.

    lm-steer analyse evidence --model gpt2 --steer my-steer --at "detox=-5 corpus=1" --dimension detox \\
        --text "You fool." --readings curves.csv -o tokens.csv
    """
    from lm_steer.analyse.evidence import evidence, read_marked, write_evidence
    from lm_steer.analyse.evidence import reading as read_style
    from lm_steer.analyse.grid import text_memo
    from lm_steer.core.steer import Steer
    from lm_steer.core.values import parse_values
    from lm_steer.model.load import load_model
    from lm_steer.model.obtain import folder_of
    from lm_steer.util.errors import LMSteerError

    if sum(map(bool, (text, path, study))) != 1:
        raise LMSteerError("give the texts by exactly one of --text, --path, and --study with --name")
    listed = arg.part_of(study, "evidence_texts", analysis=name) if study else text or []
    texts, marked = read_marked(path) if path else (listed, [None] * len(listed))
    learned, values = Steer.from_pretrained(steer), parse_values(at)
    value, others = values.get(dimension, 0), {other: at for other, at in values.items() if other != dimension}
    if not value:
        raise LMSteerError(f"--at: expected a value of '{dimension}' other than 0, the unsteered model, found {at!r}")
    against = {**others, dimension: -value} if opposite else {}
    loaded = load_model(folder_of(model, cache), dtype)
    memo = cache / "texts.sqlite"
    # All texts at once, because hidden states are computed in large blocks.
    text_memo(loaded, memo).ensure(texts, "texts")
    keywords: dict[str, Any] = {"against": against, "count": spans, "length": length, "cache": memo}
    tokens = [evidence(learned, loaded, one, {**others, dimension: value}, **keywords) for one in texts]
    points = reading or [-10, -5, 0, 5, 10]
    curves = [read_style(learned, loaded, one, dimension, points, held=others, cache=memo) for one in texts]
    write_evidence(tokens, curves, marked, output, readings)


@analyse.command("effects")
def analyse_effects(
    output: arg.Output,
    study: arg.StudyFile,
    name: Annotated[str, typer.Option(help="One of the study's sweeps, compositions, transfers or ablations.")],
    results: arg.Results = Path("results"),
) -> None:
    """Compute figures of several settings, such as where quality breaks or whether effects add up.

    lm-steer analyse effects --study results/study.json --name moods -o results/analyses/moods.csv
    """
    from lm_steer.tables.effects import write_effects

    write_effects(arg.part_of(study, "effects", analysis=name), results, output)


@analyse.command("lora")
@leased_device()
def analyse_lora(
    output: Annotated[Path, arg.OUTPUT, Writes(ADAPTER)],
    model: arg.Model,
    texts: Annotated[Path, typer.Option(help="Training texts (parquet).")],
    budget_rank: Annotated[options.Rank, typer.Option(help="At most as many parameters as a steer of this rank.")],
    labels: Annotated[
        tuple[float, float], options.A_FINITE_NUMBER, typer.Option(help="Lowest and highest label of the texts.")
    ] = (-1, 1),
    count: arg.TextCount = 0,
    steps: options.Steps = 1000,
    batch_size: options.BatchSize = 32,
    learning_rate: options.LearningRate = 1e-3,
    max_length: options.MaxLength = 256,
    seed: options.Seed = 0,
    dtype: arg.Dtype = "float32",
    cache: arg.Cache = arg.CACHE,
) -> None:
    """Train a LoRA on the texts of one style; `lm-steer generate` takes its folder instead of a steer's.

    lm-steer analyse lora --model results/models/smollm2 --texts train.parquet --labels 0.25 1 --budget-rank 512 -o mine
    """
    from lm_steer.data.labelled import first_texts, read_texts
    from lm_steer.model.load import load_model
    from lm_steer.model.obtain import folder_of
    from lm_steer.training.lora import train_lora

    frame = read_texts(texts)
    frame = first_texts(frame, count) if count else frame
    loaded = load_model(folder_of(model, cache), dtype)
    train_lora(
        loaded,
        list(frame.loc[frame["label"].between(*labels), "text"]),
        budget=2 * loaded.model.get_output_embeddings().weight.shape[1] * budget_rank,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_length=max_length,
        seed=seed,
        output=output,
    )


@analyse.command("cost")
@leased_device()
def analyse_cost(
    output: arg.Output,
    model: arg.Model,
    steer: arg.SteerFolder,
    at: arg.At,
    training: Annotated[Path | None, typer.Option(help="Snakemake's benchmark file of the training.")] = None,
    dtype: arg.Dtype = "float32",
    cache: arg.Cache = arg.CACHE,
) -> None:
    """Measure what a steer costs: parameters, bytes, training seconds, decoding time hooked and folded.

    lm-steer analyse cost --model results/models/smollm2 --steer my-steer --at detox=5 -o cost.csv
    """
    from lm_steer.analyse.cost import write_cost
    from lm_steer.core.steer import Steer
    from lm_steer.core.values import parse_values
    from lm_steer.model.load import load_model
    from lm_steer.model.obtain import folder_of

    write_cost(
        load_model(folder_of(model, cache), dtype), Steer.from_pretrained(steer), parse_values(at), training, output
    )
