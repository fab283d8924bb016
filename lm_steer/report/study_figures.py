"""Which figures a study has: differences, curves over steer values, trade-offs, losses.

for figure in drawn(study, results, cells): …       # {"kind", "name", "title", "svg"}
write_figures(study, results, Path("results/figures"))
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from lm_steer.data import layout
from lm_steer.report.analyses import analysis_figures
from lm_steer.report.families import families
from lm_steer.report.figures.curves import loss_curves, value_curves
from lm_steer.report.figures.planes import trade_off
from lm_steer.report.figures.rows import effects
from lm_steer.report.figures.style import Point, standalone
from lm_steer.report.findings import is_weak, on_model, price_of, steer_label
from lm_steer.report.provenance import weak_steers
from lm_steer.report.wording import compared
from lm_steer.study.config import Study
from lm_steer.tables.cells import Cell, by_setting, headlines, read_tables
from lm_steer.tables.metrics import PRICE, named
from lm_steer.util.files import read_jsonl, replacing
from lm_steer.util.outputs import FIGURES

Drawn = dict[str, Any]


def write_figures(study: Study, results: Path, output: Path) -> None:
    """Write every figure of a study that can be drawn as an SVG file into a folder."""
    plan = study.written
    cells = [cell for table in read_tables(plan, results).values() for cell in table]
    with replacing(output, FIGURES) as folder:
        folder.mkdir()
        for figure in [*drawn(plan, results, cells), *analysis_figures(study, results)]:
            (folder / f"{figure['name']}.svg").write_text(standalone(figure["svg"]), encoding="utf-8")


def drawn(study: Study, results: Path, cells: list[Cell]) -> Iterator[Drawn]:
    """Yield the figures of a study in the order of the page."""
    yield from _effects(cells, study)
    yield from _value_curves(cells, study)
    yield from _trade_offs(cells, study)
    yield from _losses(study, results)


def _effects(cells: list[Cell], study: Study) -> Iterator[Drawn]:
    """Draw every steered setting once, whichever tables it is in, a figure for each model and headline metric."""
    for model, metric in product(study.steered, headlines(cells)):
        chosen = by_setting(cells, model, metric)
        rows = [
            Point(_effect_label(chosen[name], study), chosen[name], price_of(chosen[name], cells))
            for name in study.settings
            if name in chosen and compared(chosen[name])
        ]
        if rows:
            title = f"{named(metric).phrase.capitalize()}{on_model(model, study)}"
            said = f"{title}: differences to unsteered with 95 % intervals. The numbers are in the tables below."
            svg = effects(said, rows, metric)
            title = f"{title}: paired differences to unsteered"
            yield {"kind": "effects", "name": f"effects-{model}-{metric}", "title": title, "svg": svg}


def _effect_label(cell: Cell, study: Study) -> str:
    mark = " †" if is_weak(cell["setting"], study) else ""
    return f"{cell['row']}, {cell['prompts']} prompts{mark}"


def _value_curves(cells: list[Cell], study: Study) -> Iterator[Drawn]:
    """Draw each family of settings over its values: the headline metric and what it costs in perplexity."""
    for model, family in product(study.steered, families(study)):
        rows = {}
        for metric in (*headlines(cells), PRICE):
            chosen = by_setting(cells, model, metric)
            row = [chosen.get(setting) for setting in family.settings.values()]
            if sum(cell is not None for cell in row) > 1:
                rows[metric] = row
        if rows:
            title = f"{family.title}: {family.prompts} prompts{on_model(model, study)}"
            said = f"{title}: {', '.join(named(metric).phrase for metric in rows)}, with 95 % intervals."
            svg = value_curves(said, list(family.settings), rows, family.dimension)
            yield {"kind": "values", "name": f"values-{model}-{family.name}", "title": title, "svg": svg}


def _trade_offs(cells: list[Cell], study: Study) -> Iterator[Drawn]:
    """Draw every setting on the same prompts by its headline metric and its perplexity."""
    line_of = {setting: family.name for family in families(study) for setting in family.steered}
    for model, prompts, metric in product(study.steered, study.prompts, headlines(cells)):
        prices = by_setting(cells, model, PRICE)
        chosen = {
            name: cell
            for name, cell in by_setting(cells, model, metric).items()
            if cell["prompts"] == prompts and name in prices
        }
        points = [
            Point(steer_label(study.settings[name].steer, study), chosen[name], prices[name], line_of.get(name, ""))
            for name in _ordered(chosen, study)
        ]
        if len(points) > 2:
            title = f"{named(metric).phrase.capitalize()} and perplexity: {prompts} prompts{on_model(model, study)}"
            svg = trade_off(f"{title}. The numbers are in the tables below.", points, metric)
            name = f"trade-off-{model}-{prompts}-{metric}"
            yield {"kind": "trade-offs", "name": name, "title": title, "svg": svg}


def _ordered(chosen: dict[str, Cell], study: Study) -> list[str]:
    """Return the settings of a study, those of a family by their values, so that its line goes from end to end."""
    order = [setting for family in families(study) for setting in family.settings.values() if setting in chosen]
    return list(dict.fromkeys([*(name for name in chosen if not study.settings[name].steer), *order, *chosen]))


def _losses(study: Study, results: Path) -> Iterator[Drawn]:
    for model, name in product(study.steered, study.steers):
        paths = [layout.steer(results, model, name, seed) / "training.jsonl" for seed in study.seeds]
        logs = [read_jsonl(path) for path in paths if path.exists()]
        if logs:
            title = f"Loss of {name}{on_model(model, study)} over {logs[0][-1]['step']} steps"
            if dev := [row["dev_loss"] for row in logs[0] if "dev_loss" in row]:
                title += f": on dev texts from {dev[0]:.2f} to {dev[-1]:.2f}"
            svg, weak = loss_curves(title, logs), name in weak_steers(study)
            yield {"kind": "losses", "name": f"loss-{model}-{name}", "title": title, "weak": weak, "svg": svg}
