"""The page's part on analyses: for each its figures, its table, and what it says in a sentence.

    analyses(study, results)        # [{"title": "Moods", "text": …, "figures": […], "tables": […]}, …]

Each part is made of the CSV files of its analysis; what is not there makes no part.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lm_steer.report.figures.curves import value_curves
from lm_steer.report.figures.planes import heat_map, trade_off
from lm_steer.report.figures.rows import values as values_of
from lm_steer.report.figures.style import Point
from lm_steer.report.steer_contents import Part, cost_of, download, estimate, evidence_of, figure, words_of
from lm_steer.report.wording import compared, direction, number, signed
from lm_steer.study.analyses import Ablation, Baselines, Composition, OfSettings, Sweep, TransferOf
from lm_steer.study.config import Study
from lm_steer.tables.cells import Cell, headlines, read_cells, shown
from lm_steer.tables.metrics import PRICE, named
from lm_steer.util.formats import read_csv

WHAT = {
    "sweeps": "From value to value",
    "compositions": "Two steers at once",
    "transfers": "Carried over to another model",
    "directions": "What a steer holds, as words",
    "evidence": "Where a style shows",
    "ablations": "What matters in training",
    "baselines": "Other ways to the same end",
    "costs": "What it costs",
}


def analyses(study: Study, results: Path) -> list[Part]:
    """Return the parts of the page, in the order of the paper's claims."""
    parts = []
    for kind, make in PARTS.items():
        for name, block in getattr(study.analyses, kind).items():
            for part in make(name, block, study, results):
                parts.append({"figures": [], "tables": [], "highlights": [], "toxic": False, "text": [], **part})
                parts[-1] |= {"kind": WHAT[kind], "name": name, "number": len(parts)}
    return parts


def analysis_figures(study: Study, results: Path) -> Iterator[Part]:
    """Yield the figures of all analyses, each with a name for a file."""
    for part in analyses(study, results):
        for number_, drawn in enumerate(part["figures"], start=1):
            yield {"name": f"analysis-{part['number']}-{part['name']}-{number_}", "svg": drawn["svg"]}


# --- analyses made of settings --------------------------------------------------------------------------------


def _of_settings(draw: Callable[..., Part]) -> Callable[[str, Any, Study, Path], Iterator[Part]]:
    """Give a part for each model its table's cells, (setting, metric) → cell, and the figures made of several."""

    def make(name: str, block: OfSettings, study: Study, results: Path) -> Iterator[Part]:
        table, effects = results / "tables" / f"{name}.csv", results / "analyses" / f"{name}.csv"
        if not table.exists():
            return
        cells = read_cells(table, study)
        texts, numbers = ("model", "figure", "metric", "point"), ("value", "low", "high")
        found = read_csv(effects, texts, gaps=numbers) if effects.exists() else None
        models = [model for model in dict.fromkeys(cell["model"] for cell in cells) if model != "external"]
        for model in models:
            own = [cell for cell in cells if cell["model"] in (model, "external")]
            rows = [] if found is None else found[found["model"] == model].to_dict("records")
            part = draw(block, {(cell["setting"], cell["metric"]): cell for cell in own}, rows, f"{name}, {model}")
            files = [path for path in (table, effects) if path.exists()]
            yield {
                "title": name if len(models) == 1 else f"{name}, {model}",
                **part,
                "tables": [_metrics_table(block, own), *part.get("tables", [])],
                "downloads": [download(path) for path in files],
            }

    return make


def _sweep(block: Sweep, cells: dict, rows: list[Part], name: str) -> Part:
    unsteered, *points = block.points
    values = [point["x"] for point in points]
    metrics = [metric for metric in _plotted(cells) if (unsteered["setting"], metric) in cells]
    curves = {metric: [cells[point["setting"], metric] for point in points] for metric in metrics}
    drawn = [figure("Against the steer value", value_curves(f"{name} values", values, curves, block.dimension))]
    for metric in metrics[:-1] if metrics[-1:] == [PRICE] else []:
        path = [
            Point(
                point["label"],
                cells[point["setting"], metric],
                cells[point["setting"], PRICE],
                "sweep" * ("x" in point),
            )
            for point in block.points
        ]
        drawn.append(figure("Against its price", trade_off(f"{name} price {metric}", path, metric)))
    if rows and all(row["low"] == row["high"] == 0 for row in rows):
        held = ", ".join(f"{dimension} {value}" for dimension, value in block.held.items())
        said = f"Perplexity exceeds {rows[0]['point']} at 0 already, by what is held: {held}."
        return {"figures": drawn, "text": [said]}
    text = []
    for row in rows:
        side = "upwards" if row["figure"] == "breaks_above" else "downwards"
        if math.isnan(row["value"]):
            text.append(f"Going {side}, perplexity stays within {row['point']} over the whole sweep.")
        else:
            text.append(f"Going {side}, perplexity exceeds {row['point']} at {estimate(row, 1)}.")
    return {"figures": drawn, "text": text}


def _composition(block: Composition, cells: dict, rows: list[Part], name: str) -> Part:
    (first, one), (second, other) = block.steers.items()
    xs, ys = sorted(one.values), sorted(other.values)
    where = {(point["x"], point["y"]): point["setting"] for point in block.points if "x" in point}
    figures, text = [], []
    for metric in [metric for metric in _plotted(cells) if (where[0, 0], metric) in cells]:
        grid = np.array([[cells[where[x, y], metric]["value"] for x in xs] for y in ys])
        labels = (one.dimension, other.dimension)
        svg = heat_map(f"{name} grid {metric}", xs, ys, grid, labels, metric)
        figures.append(figure(f"{labels[0]} × {labels[1]}", svg))
    for row in rows:
        if row["figure"] == "additivity" and not math.isnan(row["value"]):
            text.append(
                f"Sums of the single effects explain {estimate(row, 2)} of the squared joint effects on "
                f"{named(row['metric']).phrase}."
            )
        if row["figure"] == "exactness":
            text.append(
                f"The two ways to add {first} and {second}, as matrices and as dimensions side by side, differ by "
                f"{row['value']:.1g} of the largest entry."
            )
    return {"figures": figures, "text": text}


def _transfer(block: TransferOf, cells: dict, rows: list[Part], name: str) -> Part:
    text = []
    trained = block.points[1]["setting"]
    for row in rows:
        if row["figure"] == "recovered" and not direction(cells[trained, row["metric"]]):
            text.append(
                f"{row['point']}: the steer trained on the target has no effect on {named(row['metric']).phrase} that "
                "can be told from 0, of which a share could be kept."
            )
        elif row["figure"] == "recovered":
            text.append(f"{row['point']}: {estimate(row, 2)} of the effect on {named(row['metric']).phrase} is kept.")
        if row.get("verdict"):
            text.append(f"{row['point']}: published {row['published']}, {row['verdict']} ({row['reason']}).")
    return {"figures": _points(block, cells, name), "text": text}


def _ablation(block: Ablation, cells: dict, rows: list[Part], name: str) -> Part:
    ranges = {(row["point"], row["metric"]): row for row in rows if row["figure"] == "range"}
    keys, metrics = ([*dict.fromkeys(pair[side] for pair in ranges)] for side in (0, 1))
    matters = {
        "caption": "How far the metric moves over the values of each key, the steer as it is among them",
        "head": ["Key", *(named(metric).heading for metric in metrics)],
        "rows": [[key, *(estimate(ranges[key, m], named(m).digits) for m in metrics)] for key in keys],
    }
    return {"figures": _points(block, cells, name), "tables": [matters]}


def _baselines(block: Baselines, cells: dict, rows: list[Part], name: str) -> Part:
    return {"figures": _points(block, cells, name)}


def _plotted(cells: dict) -> list[str]:
    return [*headlines(cells.values()), PRICE]


def _points(block: OfSettings, cells: dict, name: str) -> list[Part]:
    drawn = []
    for metric in _plotted(cells):
        there = [point for point in block.points if (point["setting"], metric) in cells]
        if there:
            own = [cells[point["setting"], metric] for point in there]
            svg = values_of(f"{name} points {metric}", [point["label"] for point in there], own, metric)
            drawn.append(figure("Each with its 95 % interval", svg))
    return drawn


def _metrics_table(block: OfSettings, cells: list[Cell]) -> Part:
    metrics = shown(cells)
    found = {(cell["row"], cell["metric"]): cell for cell in cells}
    labels = [point["label"] for point in block.points]
    head = ["Setting", *(f"{metric.heading} {metric.arrow}".strip() for metric in metrics)]
    theirs = any(cell.get("published", "") != "" for cell in cells)
    rows = [[label, *(_cell(found.get((label, metric.name))) for metric in metrics)] for label in labels]
    if theirs:
        head.append("As published")
        for row, label in zip(rows, labels, strict=True):
            row.append(_as_published([cell for cell in cells if cell["row"] == label]))
    return {"caption": "Value, 95 % interval; in brackets the difference to unsteered where it can be told from 0",
            "head": head, "rows": rows}  # fmt: skip


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    digits = named(cell["metric"]).digits
    text = estimate(cell, digits)
    return text + (f" [{signed(cell['difference'], digits)}]" if compared(cell) and direction(cell) else "")


def _as_published(cells: list[Cell]) -> str:
    return "; ".join(
        f"{named(cell['metric']).heading} {cell['published']}: {cell['verdict']}"
        for cell in cells
        if cell.get("published", "") != ""
    )


def seed_spreads(study: Study, results: Path) -> list[list[str]]:
    """Return cells whose seeds spread wider than their interval: table, row, metric, interval, lowest to highest."""
    rows = []
    for name in study.tables:
        path = results / "tables" / f"{name}.csv"
        for cell in read_cells(path, study) if path.exists() and len(study.seeds) > 1 else []:
            if not named(cell["metric"]).variant and cell["seed_high"] - cell["seed_low"] > cell["high"] - cell["low"]:
                digits = named(cell["metric"]).digits
                spread = f"{number(cell['seed_low'], digits)}–{number(cell['seed_high'], digits)}"
                where = f"{cell['row']}, {cell['prompts']}, {cell['model']}"
                rows.append([name, where, named(cell["metric"]).heading, estimate(cell, digits), spread])
    return rows


PARTS: dict[str, Callable[[str, Any, Study, Path], Iterator[Part]]] = {
    "sweeps": _of_settings(_sweep),
    "compositions": _of_settings(_composition),
    "transfers": _of_settings(_transfer),
    "directions": words_of,
    "evidence": evidence_of,
    "ablations": _of_settings(_ablation),
    "baselines": _of_settings(_baselines),
    "costs": cost_of,
}
