"""Figures computed from several settings, with intervals: where quality breaks, how far effects add up, …

    lm-steer analyse effects --study results/study.json --name moods -o results/analyses/moods.csv

The settings of one figure are resampled together: the same prompts and seeds for all.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lm_steer.analyse.crossing import break_point
from lm_steer.tables import metrics
from lm_steer.tables.metrics import Array, Estimate, Metric
from lm_steer.tables.published import published, verdict_on
from lm_steer.tables.table import Reader
from lm_steer.util.formats import write_csv
from lm_steer.util.words import number

COLUMNS = ["model", "figure", "metric", "point", "value", "low", "high"]
Row = dict[str, Any]


def write_effects(plan: dict[str, Any], results: Path, output: Path) -> None:
    """Compute the figures of an analysis for each model; the plan has kind, block, settings, scorers, models, seeds."""
    rows: list[Row] = []
    for model in plan["models"]:
        settings = [point["setting"] for point in plan["block"]["points"]]
        if model in plan["settings"][settings[0]]["models"]:
            reader = Reader(results, model, plan)
            rows += [{"model": model, **row} for row in FIGURES[plan["kind"]](reader, plan["block"])]
    columns = [*COLUMNS, *dict.fromkeys(key for row in rows for key in row if key not in COLUMNS)]
    write_csv(output, pd.DataFrame(rows, columns=columns))


def _metrics(reader: Reader, setting: str) -> dict[str, tuple[Metric, Callable, str, str]]:
    """Return the metrics that are columns of a table, by name, as `reader.metrics_of` yields them."""
    every = reader.metrics_of(setting)
    return {one[0].name: one for one in every if one[0].attribute and not one[0].variant}


def _row(figure: str, metric: str, point: str, estimate: Estimate) -> Row:
    return {"figure": figure, "metric": metric, "point": point, **estimate.row()}


def _joint(
    reader: Reader, figure: str, metric: str, point: str, settings: Sequence[str], combine: Callable[[Array], float]
) -> Row:
    """Return `combine` of a metric's values in the settings, with its interval."""
    one, read, *_ = _metrics(reader, settings[0])[metric]
    stacked = [np.stack(seed, axis=-1) for seed in zip(*map(read, settings), strict=True)]
    return _row(figure, metric, point, metrics.interval(joint(one, combine), stacked))


def joint(metric: Metric, combine: Callable[[Array], float]) -> Metric:
    """Return a metric of scores whose last axis is settings: `combine` of the metric's values, (settings,)."""

    def per_prompt(scores: Array) -> Array:
        return np.stack([metric.per_prompt(each) for each in np.moveaxis(scores, -1, 0)], axis=-1)

    def over_prompts(prompts: Array) -> float:
        return combine(np.array([metric.over_prompts(each) for each in np.moveaxis(prompts, -1, 0)]))

    steps: dict[str, Any] = {"per_prompt": per_prompt, "over_prompts": over_prompts}
    return replace(metric, **steps, scale=0, highest=0, bounds=(-math.inf, math.inf))


def _sweep(reader: Reader, block: Row) -> Iterator[Row]:
    settings, times = [point["setting"] for point in block["points"]], block["breaks_at"]
    if "perplexity" not in _metrics(reader, settings[0]):
        return
    steps = [point["x"] for point in block["points"][1:]]

    def breaking(each: Array, side: int) -> float:
        return break_point(steps, each[1:], times * each[0], side)

    for name, side in (("breaks_above", 1), ("breaks_below", -1)):
        if any(step * side > 0 for step in steps):
            yield _joint(reader, name, "perplexity", f"{times:g} × unsteered", settings, partial(breaking, side=side))


def _composition(reader: Reader, block: Row) -> Iterator[Row]:
    where = {(point["x"], point["y"]): point["setting"] for point in block["points"] if "x" in point}
    pairs = {(x, y): [where[x, 0], where[0, y], where[x, y]] for x, y in where if x and y}
    start = [where[0, 0]]
    for metric in _metrics(reader, *start) if pairs else ():
        yield _joint(reader, "additivity", metric, "all pairs", sum(pairs.values(), start), additivity)
        for (x, y), three in pairs.items():
            point = f"{number(x)}, {number(y)}"
            yield _joint(
                reader, "interaction", metric, point, start + three, lambda each: each[3] - each[1] - each[2] + each[0]
            )


def additivity(each: Array) -> float:
    """Return 1 - Σ interaction² / Σ joint effect² of (start, then first, second and both of each pair).

    1 if effects add up, 0 if their sums predict nothing, negative if they mislead; NaN without any effect.
    """
    first, second, both = (each[1:].reshape(-1, 3) - each[0]).T
    total = (both**2).sum()
    return float(1 - ((both - first - second) ** 2).sum() / total) if total else math.nan


def _transfer(reader: Reader, block: Row) -> Iterator[Row]:
    unsteered, trained, *transferred = block["points"]
    for metric, (one, read, scorer, version) in _metrics(reader, unsteered["setting"]).items():
        published_rows = {"none": "unsteered", "trained": "trained"}
        for point in block["points"]:
            name = point.get("method", "none")
            row = _row(name, metric, point["label"], metrics.interval(one, read(point["setting"])))
            key = ("transfer", f"{block['source']} to {block['target']}", published_rows.get(name, "transferred"))
            figure = published().get(key) if metric == "avg_max_toxicity" else None
            verdict, reason = verdict_on({**row, "scorer": scorer, "version": version}, figure) if figure else ("", "")
            yield {**row, "published": figure["value"] if figure else "", "verdict": verdict, "reason": reason}
        for point in transferred if metric != "perplexity" else []:
            settings = [unsteered["setting"], trained["setting"], point["setting"]]
            yield _joint(reader, "recovered", metric, point["label"], settings, recovered)


def recovered(each: Array) -> float:
    """Return (transferred - unsteered) / (trained - unsteered) of (unsteered, trained, transferred)."""
    whole = each[1] - each[0]
    return float((each[2] - each[0]) / whole) if whole else math.nan


def _ablation(reader: Reader, block: Row) -> Iterator[Row]:
    unsteered, base, *points = block["points"]
    for metric, (one, read, *_) in _metrics(reader, unsteered["setting"]).items():
        for key in dict.fromkeys(point["key"] for point in points):
            settings = [base["setting"], *(point["setting"] for point in points if point["key"] == key)]
            values = [np.mean([one(scores) for scores in read(setting)]) for setting in settings]
            ends = [settings[np.argmin(values)], settings[np.argmax(values)]]
            yield _joint(reader, "range", metric, key, ends, lambda each: each[1] - each[0])


FIGURES: dict[str, Callable[[Reader, Row], Iterator[Row]]] = {
    "sweeps": _sweep,
    "compositions": _composition,
    "transfers": _transfer,
    "ablations": _ablation,
}
