"""Evaluate generation files, and the cost of a steer's values, without a study."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lm_steer.cli import arguments as arg
from lm_steer.cli.app import RESULTS, SCORES, With, app
from lm_steer.cli.paths import Input, Inputs, Reads
from lm_steer.util import options
from lm_steer.util.errors import LMSteerError, presentable
from lm_steer.util.gpu_lease import leased_device

if TYPE_CHECKING:
    import pandas as pd


@app.command(rich_help_panel=SCORES)
@leased_device()
def evaluate(
    file: Annotated[Inputs, typer.Argument(help="Generation files, in the field's form.")],
    metrics: Annotated[
        str, typer.Option(help="toxicity, sentiment, perplexity, dist-n, or what a --judge yields; comma-separated.")
    ] = "toxicity,sentiment,perplexity,dist-n",
    judge: Annotated[
        list[str] | None,
        typer.Option(
            help="Another judge, `toxicity=perspective`, a preset of classifiers, `perplexity=MODEL`; repeated."
        ),
        Reads(),
    ] = None,
    against: Annotated[Input, typer.Option(help="A file on the same prompts to compare with.")] = "",
    output: arg.TableFile = None,
    as_json: arg.AsJson = False,
    cache: arg.Cache = arg.CACHE,
) -> None:
    """Score generation files and print every metric with its 95 % interval.

    lm-steer evaluate steered.jsonl --against plain.jsonl --metrics toxicity,perplexity,dist-n
    """
    from lm_steer.tables.evaluate import evaluate
    from lm_steer.util.files import write_json
    from lm_steer.util.formats import write_csv
    from lm_steer.util.words import pairs_of

    judges = pairs_of("--judge", judge or (), "toxicity=perspective")
    names = list(dict.fromkeys(name.strip() for name in metrics.split(",") if name.strip()))
    if not names:
        raise LMSteerError("--metrics names none: give at least one, such as `toxicity`")
    frame = evaluate(file, names, judges, against, cache)
    rows = json.loads(frame.to_json(orient="records"))
    if output and output.suffix == ".json":
        write_json(output, rows)
    elif output:
        write_csv(output, frame)
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        _print(frame)


def _print(frame: "pd.DataFrame") -> None:
    """Print one table per file, with one metric per line."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from lm_steer.tables.metrics import named

    # A name may contain what rich takes for markup.
    console = Console(markup=False, emoji=False)
    for file, rows in frame.groupby("file", sort=False):
        first = rows.iloc[0]
        print(presentable(f"{file}: {first['n_prompts']} prompts, {first['n_generations']} generations"))
        table = Table(box=box.SIMPLE_HEAD)
        compared = "difference" in rows and rows["difference"].notna().any()
        for heading in ["", "value", "95 % interval", *(["difference", "95 % interval"] if compared else []), "judge"]:
            # Folded, not cut, where the terminal is narrow.
            table.add_column(heading, justify="left" if heading in ("", "judge") else "right", overflow="fold")
        for row in rows.to_dict("records"):
            metric = named(row["metric"])
            plain, signed = f".{metric.digits}f", f"+.{metric.digits}f"
            cells = [format(row["value"], plain), _interval(row["low"], row["high"], plain)]
            if compared:
                gap = _interval(row["difference_low"], row["difference_high"], signed)
                cells += [format(row["difference"], signed), gap]
            remarks = [f"{row['left_out']} left out"] if row["left_out"] else []
            if count := row["dominating"]:
                share = f"{row['dominating_share']:.0%}".replace("%", " %")
                remarks.append(f"{count} text{' makes' if count == 1 else 's make'} {share} of it")
            heading = f"{metric.phrase.capitalize() if metric.variant else metric.heading} {metric.arrow}"
            heading = heading.strip() + (f" ({', '.join(remarks)})" if remarks else "")
            table.add_row(*map(presentable, (heading, *cells, row["scorer"])))
        console.print(table)
    print("Intervals are over prompts, without correction for multiple comparisons.")


def _interval(low: float, high: float, form: str) -> str:
    """Return an interval as text; one end may be open if few texts dominate a mean."""
    ends = [format(end, form) if end == end else "" for end in (low, high)]
    return " to ".join(ends) if all(ends) else (f"{ends[0]} or more" if ends[0] else ends[1] and f"{ends[1]} or less")


@app.command(rich_help_panel=RESULTS)
@leased_device()
def calibrate(
    model: arg.Model,
    steer: arg.SteerFolder,
    dimension: arg.Dimension,
    texts: Annotated[Path | None, typer.Option(help="Texts (.csv, .jsonl, .parquet); uses the first 64.")] = None,
    text_column: Annotated[str, typer.Option(help="The column of the texts."), With("texts")] = "text",
    generations: Annotated[
        Path | None, typer.Option(help="Instead, a generation file: its continuations are measured.")
    ] = None,
    held: Annotated[str, typer.Option(help="Values of the other dimensions, `corpus=1`.")] = "",
    at_kl: Annotated[options.AboveZero, typer.Option(help="KL of the recommended value, in nats per token.")] = 0.5,
    value: Annotated[
        list[float] | None, options.A_STEER_VALUE, typer.Option(help="A value of the grid; repeated.")
    ] = None,
    output: arg.TableFile = None,
    dtype: arg.Dtype = "float32",
    cache: arg.Cache = arg.CACHE,
) -> None:
    """Measure what the values of a steer cost on texts, recommend one, and say where quality breaks.

    lm-steer calibrate --model gpt2 --steer my-steer --dimension style --texts reviews.csv --text-column review
    """
    import lm_steer
    from lm_steer.analyse.calibrate import TEXTS, write_calibration
    from lm_steer.core.values import parse_values
    from lm_steer.data.labelled import read_frame, require_texts
    from lm_steer.data.prompt_files import read_generations
    from lm_steer.util.formats import require_columns

    if (texts is None) == (generations is None):
        raise LMSteerError("give the texts by either --texts or --generations")
    prompts = None
    if texts:
        frame = read_frame(texts)
        require_columns(frame, [text_column], texts)
        listed = list(frame[text_column])
        require_texts(listed, str(texts))
    else:
        assert generations
        rows = list(zip(*read_generations(generations), strict=True))
        prompts = [prompt for prompt, samples in rows for _ in samples][:TEXTS]
        listed = [sample for _, samples in rows for sample in samples]
    loaded = lm_steer.load_model(lm_steer.folder_of(model, cache), dtype)
    curve = lm_steer.calibrate(
        lm_steer.Steer.from_pretrained(steer),
        loaded,
        listed[:TEXTS],
        dimension,
        prompts=prompts,
        held=parse_values(held, "held"),
        values=value,
        at_kl=at_kl,
        cache=cache / "texts.sqlite",
    )
    if output:
        write_calibration(curve, output)
    print(f"{'value':>10} {'KL':>8} {'perplexity':>11}")
    for point in curve.points:
        print(f"{point.value:>10g} {point.kl:>8.3f} {point.perplexity:>11.4g}")
    notes = [f"unsteered perplexity {curve.unsteered:.4g}; KL in nats per token", *curve.advice()]
    print(presentable("\n".join(notes)))
