"""The published numbers, and whether ours reproduce them.

published.csv holds every figure of the paper's tables, in long form, with the scorer's year and its place in the paper.
A verdict is `reproduced` if the published value lies in our interval widened by the published ±, or where none is
given by the spread the paper shows for like rows; `differs` otherwise; `not comparable` where scorer or version differ,
or the row was copied from an older one.
"""

import csv
from functools import cache
from pathlib import Path
from typing import Any

# What the paper's like rows spread by, where a figure has no ± of its own.
SPREAD = {"avg_max_toxicity": 0.015, "toxicity_probability": 0.02, "positivity": 6.0}
# The judges behind the paper's figures, as they stand in the version of a scorer of ours.
JUDGES = {"perplexity": "gpt2-xl", "positivity": "distilbert-base-uncased-finetuned-sst-2-english"}
# Figures of the sentiment table that are over two sets of prompts at once.
BOTH = {
    f"{metric}_{target}"
    for metric in ("perplexity", "dist_1", "dist_2", "dist_3")
    for target in ("positive", "negative")
}


@cache
def published() -> dict[tuple[str, str, str], dict[str, str]]:
    """Return the figures by (table, row, metric); of two scorer years the later one."""
    with open(Path(__file__).with_name("published.csv"), encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["scorer"])
    return {(row["table"], row["row"], row["metric"]): row for row in rows}


def beside(spec: dict[str, Any], cell: dict[str, Any]) -> dict[str, Any]:
    """Return what the paper says of a cell, and the verdict, as columns to stand beside it.

    `spec` is a table's key `published`: the paper's table, its row for each of our rows (`{model}` stands for the
    model's name; a mapping gives the row of each model), and for each set of prompts its name for our metrics.
    """
    row = spec["rows"].get(cell["row"], "")
    row = row.get(cell["model"], "") if isinstance(row, dict) else row.format(model=cell["model"])
    metric = spec["metrics"].get(cell["prompts"], {}).get(cell["metric"], "")
    found = published().get((spec["table"], row, metric)) if row and metric else None
    if found is None:
        return {"published": "", "published_plus_minus": "", "published_by": "", "verdict": "", "reason": ""}
    verdict, reason = judged(cell, found)
    return {
        "published": float(found["value"]),
        "published_plus_minus": found["plus_minus"],
        "published_by": ", ".join(part for part in (found["source"], found["scorer"]) if part),
        "verdict": verdict,
        "reason": reason,
    }


def judged(cell: dict[str, Any], found: dict[str, str]) -> tuple[str, str]:
    """Return the verdict on a cell (metric, low, high, scorer, version) and why."""
    metric, value = cell["metric"], float(found["value"])
    if "copied" in found["note"]:
        return "not comparable", found["note"]
    if metric in ("avg_max_toxicity", "toxicity_probability"):
        if cell["scorer"] != "perspective":
            return "not comparable", f"ours by {cell['version']}, the paper's by {found['scorer']}"
        if "2023" not in cell["version"]:
            return "not comparable", f"{found['scorer']} and today's scores of the same texts differ"
    if found["metric"] in BOTH:
        return "not comparable", "the paper gives one figure for both sets of prompts"
    judge = JUDGES.get(metric)
    if judge and judge not in cell["version"]:
        return "not comparable", f"ours by {cell['version']}, the paper's by {judge}"
    margin = float(found["plus_minus"] or SPREAD.get(metric, 0.0))
    if cell["low"] - margin <= value <= cell["high"] + margin:
        return "reproduced", f"within our interval widened by {margin:g}"
    return "differs", f"outside our interval widened by {margin:g}"


def problems(spec: dict[str, Any], place: str) -> list[str]:
    """Return what is wrong with a table's key `published`: rows and metrics that the paper does not have."""
    tables = {table for table, _, _ in published()}
    if spec["table"] not in tables:
        return [f"{place}.table: the paper has no table '{spec['table']}'; it has {', '.join(sorted(tables))}"]
    metrics = {metric for table, _, metric in published() if table == spec["table"]}
    return [
        f"{place}.metrics.{prompts}: the paper's table '{spec['table']}' has no '{theirs}'; it has "
        f"{', '.join(sorted(metrics))}"
        for prompts, names in spec["metrics"].items()
        for theirs in names.values()
        if theirs not in metrics
    ]
