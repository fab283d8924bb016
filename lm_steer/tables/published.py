"""The published numbers, and whether ours reproduce them.

published.csv holds every figure of the paper's tables as printed, in long form, with its place in the paper, the
scorer's year, and for toxicity whether the first sentence (span) or the whole text (summary) was scored.
A verdict is `reproduced` if the published value, which may be off by half a unit of its last digit, lies in our
interval widened by the published ±, or without one by the spread of similar rows in the paper; `differs`
otherwise; `not comparable` if scorer or version differ, or the row was copied from an older paper.
"""

import csv
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

# The spread of similar rows in the paper, for figures without a ±.
SPREAD = {"avg_max_toxicity": 0.015, "toxicity_probability": 0.02, "positivity": 6.0}
# The judges behind the paper's figures: kind, and id and revision, with which the version of one of ours begins.
JUDGES = {
    "perplexity_mean": ("causal-lm", "openai-community/gpt2-xl@15ea56dee5df4983c59b2538573817e1667135e2"),
    "positivity": (
        "classifier",
        "distilbert/distilbert-base-uncased-finetuned-sst-2-english@714eb0fa89d2f80546fda750413ed43d93601a13",
    ),
}
PARTS = {"span": "of the first sentence", "summary": "of the whole text"}
# Figures of the sentiment table that cover two sets of prompts at once.
BOTH = re.compile(r"(perplexity|dist_[123])_(positive|negative)")
COLUMNS = ("published", "published_plus_minus", "published_by", "verdict", "reason")

Figure = dict[str, str]


@cache
def published() -> dict[tuple[str, str, str], Figure]:
    """Return the figures by (table, row, metric).

    Of a figure that was scored again it is the later score, and `earlier` is what the paper printed.
    """
    with open(Path(__file__).with_name("published.csv"), encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["scorer"])
    figures: dict[tuple[str, str, str], Figure] = {}
    for row in rows:
        key = row["table"], row["row"], row["metric"]
        earlier = figures.get(key)
        figures[key] = {**row, "earlier": f"{earlier['value']} in {_source(earlier)}" if earlier else ""}
    return figures


def _source(figure: Figure) -> str:
    return ", ".join(part for part in (figure["source"], figure["scorer"]) if part)


def rows_of(table: str) -> list[str]:
    """Return the rows of a table of the paper."""
    return list(dict.fromkeys(row for name, row, _ in published() if name == table))


def names_of(row: str | dict[str, str]) -> list[str]:
    """Return the paper's rows that one of ours is compared with: one, or one per model."""
    return [row] if isinstance(row, str) else list(row.values())


def is_row(table: str, row: str) -> bool:
    """Whether a table of the paper has a row, with any model in place of `{model}`."""
    pattern = ".+".join(re.escape(part) for part in row.split("{model}"))
    return any(re.fullmatch(pattern, name) for name in rows_of(table))


def beside(spec: dict[str, Any], cell: dict[str, Any]) -> dict[str, Any]:
    """Return the paper's figure for a cell and the verdict, as columns to add to it.

    `spec` is a table's key `published`: the paper's table, its row for each of our rows (`{model}` stands for the
    model's name; a mapping gives one row per model), and for each set of prompts its names for our metrics.
    """
    row = spec["rows"].get(cell["row"], "")
    row = row.get(cell["model"], "") if isinstance(row, dict) else row.format(model=cell["model"])
    metric = spec["metrics"].get(cell["prompts"], {}).get(cell["metric"], "")
    figure = published().get((spec["table"], row, metric)) if row and metric else None
    if figure is None:
        return dict.fromkeys(COLUMNS, "")
    published_by = "; ".join(part for part in (_source(figure), figure["earlier"]) if part)
    return dict(
        zip(COLUMNS, (figure["value"], figure["plus_minus"], published_by, *verdict_on(cell, figure)), strict=True)
    )


def verdict_on(cell: dict[str, Any], figure: Figure) -> tuple[str, str]:
    """Return the verdict on a cell (metric, value, low, high, scorer, version) and why."""
    if obstacle := _obstacle(cell, figure):
        return "not comparable", obstacle
    rounding = 0.5 * 10.0 ** -len(figure["value"].partition(".")[2])
    margin = float(figure["plus_minus"] or SPREAD.get(cell["metric"], 0.0)) + rounding
    if cell["low"] - margin <= float(figure["value"]) <= cell["high"] + margin:
        return "reproduced", f"within our interval widened by {margin:g}"
    return "differs", f"outside our interval widened by {margin:g}"


def _obstacle(cell: dict[str, Any], figure: Figure) -> str:
    """Return why a cell and a published figure cannot be compared; empty if they can."""
    metric, version = cell["metric"], cell["version"]
    if any(not math.isfinite(cell[key]) for key in ("value", "low", "high")):
        return "ours has no interval"
    if "copied" in figure["note"]:
        return figure["note"]
    if metric in ("avg_max_toxicity", "toxicity_probability"):
        return _other_perspective(cell["scorer"], version, figure)
    if BOTH.fullmatch(figure["metric"]):
        return "the paper gives one figure for both sets of prompts"
    if metric in JUDGES:
        kind, judge = JUDGES[metric]
        if cell["scorer"] != kind or version.split(" ")[0] != judge:
            return f"ours by {cell['scorer']} {version}, the paper's by {kind} {judge}"
    return ""


def _other_perspective(scorer: str, version: str, figure: Figure) -> str:
    """Return how a toxicity score differs from the published one: by scorer, year, or part of the text."""
    if scorer != "perspective":
        return f"ours by {version}, the paper's by {figure['scorer']}"
    words = set(re.findall(r"\w+", version))
    if not words & set(re.findall(r"20\d\d", figure["scorer"])):
        return f"{figure['scorer']} and today's scores of the same texts differ"
    if words & set(PARTS) != {figure["part"]}:
        part = PARTS["summary" if figure["part"] == "span" else "span"] if words & set(PARTS) else "of an unknown part"
        return f"ours is the score {part} ({version}), the paper's {PARTS[figure['part']]}"
    return ""


def problems(spec: dict[str, Any], place: str) -> list[str]:
    """Return what is wrong with a table's key `published`: rows and metrics that the paper does not have."""
    table = spec["table"]
    rows = rows_of(table)
    if not rows:
        tables = sorted({name for name, _, _ in published()})
        return [f"{place}.table: the paper has no table '{table}'; it has {', '.join(tables)}"]
    metrics = {metric for name, _, metric in published() if name == table}
    return [
        f"{place}.rows.{label}: the paper's table '{table}' has no row '{name}'; it has {', '.join(rows)}"
        for label, row in spec["rows"].items()
        for name in names_of(row)
        if not is_row(table, name)
    ] + [
        f"{place}.metrics.{prompts}: the paper's table '{table}' has no '{metric}'; it has {', '.join(sorted(metrics))}"
        for prompts, names in spec["metrics"].items()
        for metric in names.values()
        if metric not in metrics
    ]
