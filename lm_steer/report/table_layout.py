"""A table in the paper's layout, for the page and LaTeX: one row per setting, one column group per set of prompts.

laid_out("detoxification", cells, path, study)["latex"]
"""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_steer.report.cell_records import record_id, scorer_of
from lm_steer.report.findings import is_weak
from lm_steer.report.wording import number, printable
from lm_steer.study.config import Study
from lm_steer.tables.cells import Cell
from lm_steer.tables.metrics import in_order, named
from lm_steer.util.formats import harmless

SPECIAL = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "\N{NO-BREAK SPACE}": "~",
}
ARROWS = {-1: r" $\downarrow$", 0: "", 1: r" $\uparrow$"}


def laid_out(name: str, cells: list[Cell], path: Path, study: Study) -> dict[str, Any]:
    """Return a table for the page's templates, with its CSV and LaTeX (base64) for download."""
    groups = []
    for prompts in dict.fromkeys(cell["prompts"] for cell in cells):
        present = in_order(cell["metric"] for cell in cells if cell["prompts"] == prompts)
        first = next(cell for cell in cells if cell["prompts"] == prompts)
        groups.append(
            {
                "prompts": prompts,
                "metrics": [metric.name for metric in present if not metric.variant],
                "variants": [metric.name for metric in present if metric.variant],
                "n_prompts": first["n_prompts"],
                "n_generations": first["n_generations"],
            }
        )
    rows = dict.fromkeys((cell["model"], cell["row"]) for cell in cells)
    table = {
        "name": name,
        **study.tables[name].model_dump(),
        "groups": groups,
        "models": {model: [row for which, row in rows if which == model] for model, _ in rows},
        "beside": [cell for cell in cells if cell.get("published", "") != ""],
        "cells": {_place(cell): _addressed(cell, name, study) for cell in cells},
        "weak": {(cell["model"], cell["row"]) for cell in cells if is_weak(cell["setting"], study)},
        "scorers": list(dict.fromkeys((cell["scorer"], cell["version"]) for cell in cells)),
    }
    return table | downloads(path, latex(table))


def downloads(csv: Path, latex: str) -> dict[str, str]:
    """Return a table's file and its LaTeX in base64, as the page holds them for download."""
    contents = {"csv": harmless(csv), "latex": printable(latex).encode()}
    return {kind: base64.b64encode(content).decode("ascii") for kind, content in contents.items()}


def plain_latex(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of plain texts for the booktabs package, its first column to the left."""
    lines = [[escaped(text) for text in row] for row in (headings, *rows)]
    top, *body = [" & ".join(line) + r" \\" for line in lines]
    frame = rf"\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}"
    parts = [_comment(title), frame, r"\toprule", top, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(parts)


def _place(cell: Cell) -> tuple[str, str, str, str]:
    return cell["model"], cell["row"], cell["prompts"], cell["metric"]


def _addressed(cell: Cell, table: str, study: Study) -> Cell:
    """Return a cell with its own address on the page, that of its record, and the study's name of its scorer."""
    own = {"id": f"cell-{table}-{cell['model']}-{cell['setting']}-{cell['metric']}"}
    return {**cell, **own, "record": record_id(cell["model"], cell["setting"]), "judge": scorer_of(cell, table, study)}


def latex(table: dict[str, Any]) -> str:
    """Return a table for the booktabs package: each value with its 95 % interval, and the published one beside it."""
    columns = [(group["prompts"], metric) for group in table["groups"] for metric in group["metrics"]]
    spans, at = [], 2
    for group in table["groups"]:
        width = len(group["metrics"])
        spans.append(
            (
                rf"\multicolumn{{{width}}}{{c}}{{{escaped(group['prompts'])}}}",
                rf"\cmidrule(lr){{{at}-{at + width - 1}}}",
            )
        )
        at += width
    headings = [escaped(named(metric).heading) + ARROWS[named(metric).better] for _, metric in columns]
    lines = [
        _comment(
            rf"{table['title']}. Needs \usepackage{{booktabs}}. Brackets: 95 % intervals, a bootstrap over prompts."
        ),
        *(_comment(f"Scored by {scorer} ({version}).") for scorer, version in table["scorers"]),
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        " & ".join(["", *(heading for heading, _ in spans)]) + r" \\",
        " ".join(rule for _, rule in spans),
        " & ".join(["Setting", *headings]) + r" \\",
    ]
    for model, rows in table["models"].items():
        lines.append(r"\midrule")
        if len(table["models"]) > 1:
            lines.append(rf"\multicolumn{{{len(columns) + 1}}}{{l}}{{\textit{{{escaped(model)}}}}} \\")
        for row in rows:
            cells = [table["cells"].get((model, row, *column)) for column in columns]
            lines.append(" & ".join([escaped(row), *map(_latex_cell, cells)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_cell(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    digits = named(cell["metric"]).digits
    value, low, high = (escaped(number(cell[key], digits)) for key in ("value", "low", "high"))
    published = f" {{\\scriptsize (published {escaped(cell['published'])})}}" if cell.get("published", "") != "" else ""
    return f"{value} {{\\scriptsize [{low}, {high}]}}{published}"


def escaped(text: str) -> str:
    """Return a text as LaTeX reads it."""
    return "".join(SPECIAL.get(char, char) for char in " ".join(text.splitlines()))


def _comment(text: str) -> str:
    # All that ends a line ends a comment.
    return f"% {' '.join(text.split())}"
