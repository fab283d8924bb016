"""A table in the paper's layout, for the page and LaTeX: one row per setting, one column group per set of prompts.

laid_out("detoxification", cells, path, study)["latex"]
"""

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lm_steer.report.findings import is_weak
from lm_steer.report.wording import number, printable, title_of
from lm_steer.study.config import Study
from lm_steer.tables.cells import Cell, is_published
from lm_steer.tables.metrics import PRICE, SIDES, in_order, named
from lm_steer.util.formats import harmless

TEMPLATES = Path(__file__).parent / "templates"
SPECIAL = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "\N{NO-BREAK SPACE}": "~",
}


@dataclass(frozen=True)
class Column:
    """One metric of a LaTeX table, within a group of columns."""

    group: str
    metric: str
    heading: str
    digits: int


def templates(**options: Any) -> Environment:
    """Return the environment of the templates, in which an undefined name is an error."""
    loader = FileSystemLoader(TEMPLATES)
    return Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, **options)


def laid_out(name: str, cells: list[Cell], path: Path, study: Study) -> dict[str, Any]:
    """Return a table for the page's templates, with its CSV and LaTeX (base64) for download."""
    groups = [
        _group([cell for cell in cells if cell["prompts"] == prompts])
        for prompts in dict.fromkeys(cell["prompts"] for cell in cells)
    ]
    models: dict[str, dict[str, None]] = {}
    for cell in cells:
        models.setdefault(cell["model"], {})[cell["row"]] = None
    placed = {(cell["model"], cell["row"], cell["prompts"], cell["metric"]): cell for cell in cells}
    scorers = list(dict.fromkeys((cell["scorer"], cell["version"]) for cell in cells))
    columns = [
        Column(group["prompts"], metric, title_of(metric), named(metric).digits)
        for group in groups
        for metric in [*group["first"], *group["rest"]]
    ]
    block = study.tables[name]
    title = f"{block.title}. Brackets: 95 % intervals, not corrected for multiple comparisons"
    return {
        "name": name,
        **block.model_dump(),
        "groups": groups,
        "models": models,
        "beside": [cell for cell in cells if is_published(cell)],
        "cells": placed,
        "weak": {(cell["model"], cell["row"]) for cell in cells if is_weak(cell["setting"], study)},
        "scorers": scorers,
        **downloads(path, latex(title, columns, models, placed, scorers)),
    }


def _group(cells: list[Cell]) -> dict[str, Any]:
    """Return the metrics of one set of prompts: `first` (aims, costs, one of distinctness), `rest` and `variants`."""
    present = in_order(cell["metric"] for cell in cells)
    metrics = [metric for metric in present if not metric.variant]
    aims = [metric for metric in metrics if metric.headline] or metrics[:1]
    costs = [metric for metric in metrics if metric.name == PRICE or metric.attribute.startswith(SIDES)]
    last = [metric for metric in metrics if not metric.attribute][-1:]
    first = list(dict.fromkeys(metric.name for metric in [*aims, *costs, *last]))
    return {
        "first": first,
        "rest": [metric.name for metric in metrics if metric.name not in first],
        "variants": [metric.name for metric in present if metric.variant],
        **{key: cells[0][key] for key in ("prompts", "n_prompts", "n_generations")},
    }


def downloads(csv: Path, tex: str) -> dict[str, str]:
    """Return a table's CSV and LaTeX in base64, for download links."""
    contents = {"csv": harmless(csv), "latex": printable(tex).encode()}
    return {kind: base64.b64encode(content).decode("ascii") for kind, content in contents.items()}


def latex(
    title: str,
    columns: Sequence[Column],
    models: Mapping[str, Iterable[str]],
    cells: Mapping[tuple[str, str, str, str], Cell],
    scorers: Sequence[tuple[str, str]] = (),
) -> str:
    """Return a LaTeX table for booktabs: each value with its 95 % interval and the published value.

    models      the rows of each model
    cells       by model, row, group and metric
    """
    widths = Counter(column.group for column in columns)
    ends = pairwise(accumulate(widths.values(), initial=1))
    groups = [(group, start + 1, end) for group, (start, end) in zip(widths, ends, strict=True)]
    # Jinja's own braces would clash with LaTeX's.
    marks = {"block_start_string": "<%", "block_end_string": "%>", "variable_start_string": "<<"}
    environment = templates(**marks, variable_end_string=">>", keep_trailing_newline=True, autoescape=False)
    # A line break would end a LaTeX comment.
    environment.filters |= {"tex": escaped, "one_line": lambda text: " ".join(text.split()), "number": number}
    environment.tests["published"] = is_published
    template = environment.get_template("table.tex")
    return template.render(title=title, columns=columns, groups=groups, models=models, cells=cells, scorers=scorers)


def escaped(text: str) -> str:
    """Escape a text for LaTeX."""
    return "".join(SPECIAL.get(char, char) for char in " ".join(text.splitlines()))
