"""The page's part on analyses: figures, a table and a summary sentence for each.

    analyses(study, results)        # [{"title": "Moods", "text": …, "figures": […], "tables": […]}, …]

Each part is made from the CSV files of its analysis; an analysis without files has no part.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from lm_steer.data import layout
from lm_steer.report.figures.planes import heat_map
from lm_steer.report.figures.rows import values as values_with_intervals
from lm_steer.report.steer_contents import Part, cost_of, download, evidence_of, of_steer, words_of
from lm_steer.report.wording import direction, estimate, number, title_of, typeset
from lm_steer.study.analyses import Ablation, Composition, Sweep, TransferOf
from lm_steer.study.config import Study
from lm_steer.study.of_settings import OfSettings
from lm_steer.tables.cells import Cell, headlines, is_published, read_cells, shown
from lm_steer.tables.metrics import PRICE, named
from lm_steer.util.formats import read_csv

# Cells by setting and metric.
Cells = dict[tuple[str, str], Cell]


def analyses(study: Study, results: Path) -> list[Part]:
    """Return a part for each analysis, in the order of the paper's claims."""
    parts: list[Part] = []
    for kind, (title, make) in PARTS.items():
        for name, block in getattr(study.analyses, kind).items():
            for part in make(name, block, study, results):
                parts.append({"figures": [], "tables": [], "highlights": [], "toxic": False, "text": [], **part})
                parts[-1] |= {"kind": title, "name": name, "number": len(parts)}
    return parts


def _of_settings(
    draw: Callable[..., Part], name: str, block: OfSettings, study: Study, results: Path
) -> Iterator[Part]:
    """Yield for each model the part that `draw` makes of its table's cells and effects, together with the table."""
    table, effects = layout.table(results, name), layout.analysis(results, name)
    if not table.exists():
        return
    cells, rows = read_cells(table, study), []
    if effects.exists():
        texts, numbers = ("model", "figure", "metric", "point"), ("value", "low", "high")
        rows = read_csv(effects, texts, gaps=numbers).to_dict("records")
    models = dict.fromkeys(cell["model"] for cell in cells if cell["model"] != layout.EXTERNAL)
    for model in models:
        model_cells = [cell for cell in cells if cell["model"] in (model, layout.EXTERNAL)]
        placed = {(cell["setting"], cell["metric"]): cell for cell in model_cells}
        part = draw(block, placed, [row for row in rows if row["model"] == model], f"{name}, {model}")
        yield {
            "title": name if len(models) == 1 else f"{name}, {model}",
            **part,
            "tables": [_metrics_table(block, model_cells), *part.get("tables", [])],
            "downloads": [download(path) for path in (table, effects) if path.exists()],
        }


def _sweep(block: Sweep, cells: Cells, rows: list[Part], name: str) -> Part:
    # Its figure is among the page's trade-offs.
    if rows and all(row["low"] == row["high"] == 0 for row in rows):
        fixed = ", ".join(f"{dimension} {value}" for dimension, value in block.held.items())
        return {"text": [f"Perplexity already exceeds {rows[0]['point']} at 0, because of the held values: {fixed}."]}
    text = []
    for row in rows:
        side = "upwards" if row["figure"] == "breaks_above" else "downwards"
        verb = f"exceeds {row['point']} at {estimate(row, 1)}"
        if math.isnan(row["value"]):
            verb = f"stays within {row['point']} over the whole sweep"
        text.append(f"Going {side}, perplexity {verb}.")
    return {"text": text}


def _composition(block: Composition, cells: Cells, rows: list[Part], name: str) -> Part:
    one, other = block.steers.values()
    xs, ys = sorted(one.values), sorted(other.values)
    labels = [one.dimension, other.dimension]
    where = {(point["x"], point["y"]): point["setting"] for point in block.points if "x" in point}
    figures, text = [], []
    for metric in [metric for metric in _plotted(cells) if (where[0, 0], metric) in cells]:
        grid = np.array([[cells[where[x, y], metric]["value"] for x in xs] for y in ys])
        figures.append((" × ".join(labels), heat_map(f"{name} grid {metric}", xs, ys, grid, labels, metric)))
    for row in rows:
        if row["figure"] == "additivity" and not math.isnan(row["value"]):
            phrase = named(row["metric"]).phrase
            text.append(f"Sums of single effects explain {estimate(row, 2)} of the squared joint effects on {phrase}.")
    return {"figures": figures, "text": text}


def _transfer(block: TransferOf, cells: Cells, rows: list[Part], name: str) -> Part:
    text = []
    trained = block.points[1]["setting"]
    for row in rows:
        phrase = named(row["metric"]).phrase
        if row["figure"] == "recovered":
            sentence = f"{estimate(row, 2)} of the effect on {phrase} is kept."
            if not direction(cells[trained, row["metric"]]):
                sentence = (
                    f"no share can be given, because the effect on {phrase} of the steer trained on the target is "
                    "indistinguishable from 0."
                )
            text.append(f"{row['point']}: {sentence}")
        if row.get("verdict"):
            text.append(f"{row['point']}: published {row['published']}, {row['verdict']} ({row['reason']}).")
    return {"figures": _points(block, cells, name), "text": text}


def _ablation(block: Ablation, cells: Cells, rows: list[Part], name: str) -> Part:
    ranges = {(row["point"], row["metric"]): row for row in rows if row["figure"] == "range"}
    keys, metrics = ([*dict.fromkeys(pair[side] for pair in ranges)] for side in (0, 1))
    matters = {
        "caption": "Range of each metric over the values of each key, the study's own value included",
        "head": ["Key", *(named(metric).heading for metric in metrics)],
        "rows": [[key, *(estimate(ranges[key, m], named(m).digits) for m in metrics)] for key in keys],
    }
    return {"figures": _points(block, cells, name), "tables": [matters]}


def _plotted(cells: Cells) -> list[str]:
    return [*headlines(cells.values()), PRICE]


def _points(block: OfSettings, cells: Cells, name: str) -> list[tuple[str, Markup]]:
    figures = []
    for metric in _plotted(cells):
        labels = {point["setting"]: point["label"] for point in block.points if (point["setting"], metric) in cells}
        if labels:
            measured = [cells[setting, metric] for setting in labels]
            svg = values_with_intervals(f"{name} points {metric}", list(labels.values()), measured, metric)
            figures.append(("Values with 95 % intervals", svg))
    return figures


def _metrics_table(block: OfSettings, cells: list[Cell]) -> Part:
    metrics = shown(cells)
    placed = {(cell["row"], cell["metric"]): cell for cell in cells}
    head = ["Setting", *(title_of(metric.name) for metric in metrics)]
    labels = [point["label"] for point in block.points]
    rows = [[typeset(label), *(placed.get((label, metric.name)) for metric in metrics)] for label in labels]
    if published := [cell for cell in cells if is_published(cell)]:
        head.append("As published")
        for row, label in zip(rows, labels, strict=True):
            in_row = [cell for cell in published if cell["row"] == label]
            row.append("; ".join(f"{named(c['metric']).heading} {c['published']}: {c['verdict']}" for c in in_row))
    caption = "Value, 95 % interval, and difference to unsteered if its interval excludes 0"
    return {"caption": caption, "head": head, "rows": rows}


def seed_spreads(study: Study, results: Path) -> list[list[str]]:
    """Return the cells whose seeds spread wider than their interval: table, row, metric, estimate, range of seeds."""
    rows = []
    for name in study.tables:
        path = layout.table(results, name)
        for cell in read_cells(path, study) if path.exists() and len(study.seeds) > 1 else []:
            if not named(cell["metric"]).variant and cell["seed_high"] - cell["seed_low"] > cell["high"] - cell["low"]:
                digits = named(cell["metric"]).digits
                spread = f"{number(cell['seed_low'], digits)}–{number(cell['seed_high'], digits)}"
                where = f"{cell['row']}, {cell['prompts']}, {cell['model']}"
                rows.append([name, where, named(cell["metric"]).heading, estimate(cell, digits), spread])
    return rows


PARTS: dict[str, tuple[str, Callable[[str, Any, Study, Path], Iterator[Part]]]] = {
    "sweeps": ("Value sweep", partial(_of_settings, _sweep)),
    "compositions": ("Two steers together", partial(_of_settings, _composition)),
    "transfers": ("Transfer to another model", partial(_of_settings, _transfer)),
    "directions": ("Words that a steer raises and lowers", partial(of_steer, ["words", "spectrum"], words_of)),
    "evidence": ("Which words show the style", partial(of_steer, ["tokens", "readings"], evidence_of)),
    "ablations": ("Training choices", partial(_of_settings, _ablation)),
    "baselines": (
        "Comparison with other methods",
        partial(_of_settings, lambda block, cells, _, name: {"figures": _points(block, cells, name)}),
    ),
    "costs": ("Cost", partial(of_steer, ["cost"], cost_of)),
}
