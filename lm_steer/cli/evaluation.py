"""Evaluation of generation files in one line, without a study."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lm_steer.cli.app import CACHE, SCORES, AsJson, Cache, app
from lm_steer.cli.paths import Input, Inputs, Writes
from lm_steer.util.errors import LMSteerError
from lm_steer.util.gpu_lease import leased_device

if TYPE_CHECKING:
    import pandas as pd


@app.command(rich_help_panel=SCORES)
@leased_device()
def evaluate(
    file: Annotated[Inputs, typer.Argument(help="Generation files, in the field's form.")],
    metrics: Annotated[
        str, typer.Option(help="toxicity, sentiment, perplexity, dist-n, or what a --judge yields; by comma.")
    ] = "toxicity,sentiment,perplexity,dist-n",
    judge: Annotated[
        list[str] | None,
        typer.Option(
            help="Another judge, `toxicity=perspective`, a preset of classifiers, `perplexity=MODEL`; repeated."
        ),
    ] = None,
    against: Annotated[Input, typer.Option(help="A file on the same prompts that differences are taken to.")] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the table goes, .csv or .json."), Writes()
    ] = None,
    as_json: AsJson = False,
    cache: Cache = CACHE,
) -> None:
    """Score generation files and print every metric with its 95 % interval.

    lm-steer evaluate steered.jsonl --against plain.jsonl --metrics toxicity,perplexity,dist-n
    """
    from lm_steer.tables.evaluate import evaluate

    pairs = [one.partition("=")[::2] for one in judge or ()]
    if wrong := [one for one in judge or () if not all(one.partition("=")[::2])]:
        raise LMSteerError(
            f"--judge: expected an attribute and its judge, as `toxicity=perspective`, found {wrong[0]!r}"
        )
    if output and output.suffix not in (".csv", ".json"):
        raise LMSteerError(f"--output: {output} is neither a .csv nor a .json")
    wanted = list(dict.fromkeys(name.strip() for name in metrics.split(",") if name.strip()))
    if not wanted:
        raise LMSteerError("--metrics names none: give at least one, as `toxicity`")
    frame = evaluate(file, wanted, dict(pairs), against, cache)
    if output:
        from lm_steer.util.files import replacing

        with replacing(output) as temporary:
            _write(frame, temporary, output.suffix)
    if as_json:
        print(_json(frame))
    else:
        _print(frame)


def _json(frame: "pd.DataFrame") -> str:
    return frame.to_json(orient="records", indent=2, force_ascii=False)


def _write(frame: "pd.DataFrame", path: Path, suffix: str) -> None:
    if suffix == ".json":
        path.write_text(_json(frame) + "\n", encoding="utf-8")
    else:
        frame.to_csv(path, index=False, float_format="%.6g")


def _print(frame: "pd.DataFrame") -> None:
    """Print one table for each file: a metric a line."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from lm_steer.tables.metrics import named

    console = Console()
    for file, rows in frame.groupby("file", sort=False):
        first = rows.iloc[0]
        print(f"{file}: {first['n_prompts']} prompts, {first['n_generations']} generations")
        table = Table(box=box.SIMPLE_HEAD)
        compared = "difference" in rows and rows["difference"].notna().any()
        for heading in ["", "value", "95 % interval", *(["difference", "95 % interval"] if compared else []), "judge"]:
            table.add_column(heading, justify="left" if heading in ("", "judge") else "right")
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
            table.add_row(heading, *cells, row["scorer"])
        console.print(table)
    print("Intervals are over prompts; several comparisons are not corrected for their number.")


def _interval(low: float, high: float, form: str) -> str:
    """Write an interval; one end may be open, where few texts make a mean."""
    ends = [format(end, form) if end == end else "" for end in (low, high)]
    return " to ".join(ends) if all(ends) else (f"{ends[0]} or more" if ends[0] else ends[1] and f"{ends[1]} or less")
