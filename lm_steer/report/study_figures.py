"""The figures of a study: differences, metrics and their cost over steer values, losses.

drawn(study, results, cells)["losses"]              # [{"name", "title", "panels"}, …]
write_figures(study, results, Path("results/figures"))
"""

from collections.abc import Collection, Iterator, Mapping
from itertools import chain, product
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lm_steer.data import layout
from lm_steer.report.analyses import analyses
from lm_steer.report.families import Family, families
from lm_steer.report.figures.curves import loss_curves, value_curves
from lm_steer.report.figures.planes import trade_off
from lm_steer.report.figures.rows import effects
from lm_steer.report.figures.style import Point, standalone
from lm_steer.report.findings import is_weak, on_model, price_of, steer_label
from lm_steer.report.provenance import weak_steers
from lm_steer.report.wording import compared, typeset, value_text
from lm_steer.study.config import Study, expanded
from lm_steer.tables.cells import Cell, by_setting, headlines, read_tables
from lm_steer.tables.metrics import PRICE, named
from lm_steer.util.files import read_jsonl, replacing
from lm_steer.util.outputs import FIGURES

Drawn = dict[str, Any]


def write_figures(study: Study, results: Path, output: Path) -> None:
    """Write every figure that can be drawn so far into a folder, one SVG file per panel."""
    swept = expanded(study.written, ["sweeps"])[0]
    cells = [cell for table in read_tables(swept, results).values() for cell in table]
    files = {
        f"{figure['name']}{f'-{place}' if place else ''}": svg
        for figure in chain(*drawn(swept, results, cells).values())
        for place, svg in enumerate(figure["panels"])
    }
    for part in analyses(study, results):
        for place, (_, svg) in enumerate(part["figures"], start=1):
            files[f"analysis-{part['number']}-{part['name']}-{place}"] = svg
    with replacing(output, FIGURES) as folder:
        folder.mkdir()
        for name, svg in files.items():
            (folder / f"{name}.svg").write_text(standalone(svg), encoding="utf-8")


def drawn(study: Study, results: Path, cells: list[Cell]) -> dict[str, list[Drawn]]:
    """Return the figures of a study, settings of its sweeps included, by part of the page."""
    trade_offs = ([*_dials(cells, study, model), *_trade_offs(cells, study, model)] for model in study.steered)
    return {
        "effects": list(_effects([cell for cell in cells if cell["setting"] in study.written.settings], study)),
        "trade_offs": list(chain(*trade_offs)),
        "losses": list(_losses(study, results)),
    }


def _effects(cells: list[Cell], study: Study) -> Iterator[Drawn]:
    """Draw every steered setting once, whichever tables it is in; one figure per model and headline metric."""
    for model, metric in product(study.steered, headlines(cells)):
        chosen = by_setting(cells, model, metric)
        rows = []
        for name in study.settings:
            cell = chosen.get(name)
            if cell and compared(cell):
                label = f"{typeset(cell['row'])}, {cell['prompts']} prompts{' †' if is_weak(name, study) else ''}"
                rows.append(Point(label, cell, price_of(cell, cells)))
        if rows:
            title = f"{named(metric).phrase.capitalize()}{on_model(model, study)}"
            description = f"{title}: differences to unsteered with 95 % intervals. The numbers are in the tables below."
            title, svg = f"{title}: difference to unsteered", effects(description, rows, metric)
            yield {"name": f"effects-{model}-{metric}", "title": title, "panels": [svg]}


def _dials(cells: list[Cell], study: Study, model: str) -> Iterator[Drawn]:
    """Draw each family over its values: headline metrics and perplexity, then one against the other."""
    columns = {metric: by_setting(cells, model, metric) for metric in (*headlines(cells), PRICE)}
    for family in families(study):
        rows = {name: [column.get(each) for each in family.settings.values()] for name, column in columns.items()}
        rows = {metric: row for metric, row in rows.items() if len(row) - row.count(None) > 1}
        if rows:
            title = f"{family.title}: {family.prompts} prompts{on_model(model, study)}"
            description = f"{title}: {', '.join(named(metric).phrase for metric in rows)}, with 95 % intervals."
            curves = value_curves(description, list(family.settings), rows, family.dimension)
            planes = _planes(title, _labels(family, study), family.settings.values(), cells, model)
            yield {"name": f"values-{model}-{family.name}", "title": title, "panels": [curves, *planes]}


def _labels(family: Family, study: Study) -> dict[str, str]:
    """Return the labels in a family's trade-off: its values, and settings of the same steer outside all families."""
    line = {setting: value_text(value) for value, setting in family.settings.items()}
    labels = {family.unsteered: "", **line, family.unsteered: "unsteered"}
    of_families = {setting for other in families(study) for setting in other.settings.values()}
    same = {steer_label(study.settings[member].steer, study) for member in line}
    for name, setting in study.written.settings.items():
        like = setting.prompts == family.prompts and set(setting.steer) == {family.steer}
        values = steer_label(setting.steer, study)
        if like and name not in of_families and values not in same:
            labels[name] = values
    return labels


def _trade_offs(cells: list[Cell], study: Study, model: str) -> Iterator[Drawn]:
    """Draw the settings on each set of prompts without a family, by headline metric and perplexity."""
    with_dials = {family.prompts for family in families(study)}
    for prompts in (name for name in study.prompts if name not in with_dials):
        settings = study.written.settings.items()
        labels = {name: steer_label(one.steer, study) for name, one in settings if one.prompts == prompts}
        title = f"{prompts} prompts{on_model(model, study)}: what each setting reaches and costs"
        if panels := list(_planes(title, labels, (), cells, model)):
            yield {"name": f"trade-off-{model}-{prompts}", "title": title, "panels": panels}


def _planes(
    title: str, labels: Mapping[str, str], line: Collection[str], cells: list[Cell], model: str
) -> Iterator[Markup]:
    """Draw settings by each headline metric and perplexity; those in `line` are joined."""
    prices = by_setting(cells, model, PRICE)
    for metric in headlines(cells):
        chosen = by_setting(cells, model, metric)
        both = [name for name in labels if name in chosen and name in prices]
        points = [Point(labels[name], chosen[name], prices[name], name in line) for name in both]
        if len(points) > 2:
            description = f"{title}: {named(metric).phrase} and perplexity. The numbers are in the tables."
            yield trade_off(description, points, metric)


def _losses(study: Study, results: Path) -> Iterator[Drawn]:
    for model, name in product(study.steered, study.steers):
        paths = [layout.steer(results, model, name, seed) / "training.jsonl" for seed in study.seeds]
        logs = [read_jsonl(path) for path in paths if path.exists()]
        if logs:
            title = f"Loss of {name}{on_model(model, study)} over {logs[0][-1]['step']} steps"
            if dev := [row["dev_loss"] for row in logs[0] if "dev_loss" in row]:
                title += f": on dev texts from {dev[0]:.2f} to {dev[-1]:.2f}"
            svg, weak = loss_curves(title, logs), name in weak_steers(study)
            yield {"name": f"loss-{model}-{name}", "title": title, "weak": weak, "panels": [svg]}
