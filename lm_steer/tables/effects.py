"""Figures computed from several settings, with intervals: where quality breaks, how far effects add up, …

    lm-steer analyse effects --study results/study.json --name moods -o results/analyses/moods.csv

kind          figure                   what
sweeps        breaks_above, _below     the value, from 0 on, at which perplexity exceeds `breaks_at` × the unsteered one
compositions  additivity               share of the squared joint effects that the sums of the two single ones explain
              interaction              for each pair, the joint effect less the sum of the single ones
transfers     recovered                (transferred - unsteered) / (trained - unsteered)
              none, trained, …         the metric itself, beside the published one
ablations     range                    highest less lowest metric over the values of one key and the steer as it is

Settings that stand in one figure are resampled together: the same prompts and seeds on all sides.
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
from lm_steer.tables.published import judged, published
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
    """Return the metrics of a setting's scorers that a table's columns show, by name, as the reader yields them."""
    every = reader.metrics_of(setting)
    return {one[0].name: one for one in every if one[0].attribute and not one[0].variant}


def _estimate(reader: Reader, metric: str, settings: Sequence[str], combine: Callable[[Array], float]) -> Estimate:
    """Return `combine` of a metric's values in the settings, with its interval."""
    one, read, *_ = _metrics(reader, settings[0])[metric]
    stacked = [np.stack(seed, axis=-1) for seed in zip(*map(read, settings), strict=True)]
    return metrics.interval(joint(one, combine), stacked)


def joint(metric: Metric, combine: Callable[[Array], float]) -> Metric:
    """Return a metric of scores whose last axis is settings: `combine` of the metric's values, (settings,)."""

    def per_prompt(scores: Array) -> Array:
        return np.stack([metric.per_prompt(scores[..., index]) for index in range(scores.shape[-1])], axis=-1)

    def over_prompts(kept: Array) -> float:
        return combine(np.array([metric.over_prompts(kept[..., index]) for index in range(kept.shape[-1])]))

    return replace(metric, per_prompt=per_prompt, over_prompts=over_prompts, scale=0, highest=lambda: 0.0)


def _row(figure: str, metric: str, point: str, estimate: Estimate) -> Row:
    values = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {"figure": figure, "metric": metric, "point": point, **values}


def _sweep(reader: Reader, block: Row) -> Iterator[Row]:
    unsteered, *points = block["points"]
    settings = [unsteered["setting"], *(point["setting"] for point in points)]
    if "perplexity" not in _metrics(reader, settings[0]):
        return
    steps = [point["x"] for point in points]
    for name, side in (("breaks_above", 1), ("breaks_below", -1)):
        if any(step * side > 0 for step in steps):
            times = block["breaks_at"]
            broken = partial(_break, steps, times, side)
            yield _row(name, "perplexity", f"{times:g} × unsteered", _estimate(reader, "perplexity", settings, broken))


def _break(steps: Sequence[float], times: float, side: int, perplexities: Array) -> float:
    return break_point(steps, perplexities[1:], times * perplexities[0], side)


def _composition(reader: Reader, block: Row) -> Iterator[Row]:
    where = {(point["x"], point["y"]): point["setting"] for point in block["points"] if "x" in point}
    pairs = [(x, y) for x, y in where if x and y]
    for metric in _metrics(reader, where[0, 0]):
        settings = [where[0, 0]]
        for x, y in pairs:
            settings += [where[x, 0], where[0, y], where[x, y]]
        if pairs:
            yield _row("additivity", metric, "all pairs", _estimate(reader, metric, settings, additivity))
        for x, y in pairs:
            four = [where[0, 0], where[x, 0], where[0, y], where[x, y]]
            interaction = _estimate(reader, metric, four, lambda each: each[3] - each[1] - each[2] + each[0])
            yield _row("interaction", metric, f"{number(x)}, {number(y)}", interaction)


def additivity(each: Array) -> float:
    """Return 1 - Σ interaction² / Σ joint effect² of (start, then first, second and both of each pair).

    1 where effects add up, 0 where their sums say nothing, negative where they mislead; NaN where there is no effect.
    """
    first, second, both = (each[1:].reshape(-1, 3) - each[0]).T
    total = (both**2).sum()
    return float(1 - ((both - first - second) ** 2).sum() / total) if total else math.nan


def _transfer(reader: Reader, block: Row) -> Iterator[Row]:
    unsteered, trained, *transferred = block["points"]
    for metric, (one, read, scorer, version) in _metrics(reader, unsteered["setting"]).items():
        theirs = {"none": "unsteered", "trained": "trained"}
        for point in block["points"]:
            name = point.get("method", "none")
            row = _row(name, metric, point["label"], metrics.interval(one, read(point["setting"])))
            cell = {**row, "scorer": scorer, "version": version}
            key = ("transfer", f"{block['source']} to {block['target']}", theirs.get(name, "transferred"))
            found = published().get(key) if metric == "avg_max_toxicity" else None
            verdict, reason = judged(cell, found) if found else ("", "")
            yield {**row, "published": found["value"] if found else "", "verdict": verdict, "reason": reason}
        for point in transferred if metric != "perplexity" else []:
            settings = [unsteered["setting"], trained["setting"], point["setting"]]
            yield _row("recovered", metric, point["label"], _estimate(reader, metric, settings, recovered))


def recovered(each: Array) -> float:
    """Return (transferred - unsteered) / (trained - unsteered) of (unsteered, trained, transferred)."""
    whole = each[1] - each[0]
    return float((each[2] - each[0]) / whole) if whole else math.nan


def _ablation(reader: Reader, block: Row) -> Iterator[Row]:
    unsteered, base, *points = block["points"]
    for metric, (one, read, *_) in _metrics(reader, unsteered["setting"]).items():
        for key in dict.fromkeys(point["key"] for point in points):
            settings = [base["setting"], *(point["setting"] for point in points if point["key"] == key)]
            values = [float(np.mean([one(scores) for scores in read(setting)])) for setting in settings]
            ends = [settings[int(np.argmin(values))], settings[int(np.argmax(values))]]
            spread = _estimate(reader, metric, ends, lambda each: each[1] - each[0])
            yield _row("range", metric, key, spread)


FIGURES: dict[str, Callable[[Reader, Row], Iterator[Row]]] = {
    "sweeps": _sweep,
    "compositions": _composition,
    "transfers": _transfer,
    "ablations": _ablation,
}
