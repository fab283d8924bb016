"""The page: what was steered and by how much, the tables, texts side by side, and where every number is from.

    lm-steer page --study '{"title": …}' --results results -o reports/index.html

One HTML file that asks nothing of any server. All it says comes from the study and its results: a study without
steers, with several models, or with other scorers makes a page as well.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lm_steer.files import read_jsonl, replacing
from lm_steer.report import figures, measures
from lm_steer.report.agreement import agreements
from lm_steer.report.measures import HEADLINES, MEASURES, PRICE, VARIANTS, Cell
from lm_steer.report.provenance import provenance, weak_steers
from lm_steer.report.tables import generation_file
from lm_steer.study import Study
from lm_steer.texts import read_generations

TEMPLATES = Path(__file__).parent / "templates"
SAMPLE_PROMPTS = 6


def write_page(study: str, results: Path, output: Path) -> None:
    """Write the page of a resolved study (as JSON) from its results; LMSteerError names a file that is missing."""
    plan = json.loads(study)
    files = {name: results / "tables" / f"{name}.csv" for name in plan["tables"]}
    tables = {name: measures.read_cells(path) for name, path in files.items()}
    cells = [cell for table in tables.values() for cell in table]
    html = (
        _environment()
        .get_template("page.html")
        .render(
            title=plan["title"],
            study=plan,
            weak_steers=weak_steers(plan),
            summary=_summary(cells),
            findings=list(_findings(tables, plan)),
            effects=_effect_figures(cells, plan),
            tables=[_table(name, tables[name], files[name], plan) for name in tables],
            samples=_samples(plan, results),
            sample_count=SAMPLE_PROMPTS,
            curves=_curves(plan, results),
            agreements=agreements(plan, results),
            origin=provenance(plan, results, cells),
        )
    )
    with replacing(output) as temporary:
        temporary.write_text(html, encoding="utf-8", newline="\n")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": measures.number, "signed": measures.signed}
    environment.tests |= {"compared": measures.compared}
    environment.globals |= {
        "direction": measures.direction,
        "verdict": measures.verdict,
        "measure": measures.measure,
    }
    return environment


def _summary(cells: list[Cell]) -> str:
    """Say in one sentence how far the headline metrics moved, each steered setting counted once."""
    parts = []
    for metric in HEADLINES:
        moved = {
            (cell["model"], cell["setting"]): cell
            for cell in cells
            if cell["metric"] == metric and measures.compared(cell)
        }
        if moved:
            shown = measures.measure(metric)
            low, *_, high = sorted([*(cell["difference"] for cell in moved.values())] * 2)
            told = sum(measures.direction(cell) != 0 for cell in moved.values())
            parts.append(
                f"{shown.name} moved by {measures.signed(low, shown.digits)} to "
                f"{measures.signed(high, shown.digits)}{shown.unit} ({told} of {len(moved)} "
                f"difference{'s' if len(moved) > 1 else ''} to unsteered can be told from 0)"
            )
    sentence = ", and ".join(parts)
    return sentence and f"Over its steered settings {sentence}."


def _findings(tables: dict[str, list[Cell]], study: Study) -> Iterator[dict[str, Any]]:
    """Yield, for each table and model, what its steered rows changed; a setting is told where it first stands."""
    told: set[tuple[str, str]] = set()
    for name, cells in tables.items():
        headline = measures.headline_of(cells)
        about = [cell for cell in cells if cell["metric"] == headline and measures.compared(cell)]
        for model in study["steered"]:
            new = [cell for cell in about if cell["model"] == model and (model, cell["setting"]) not in told]
            told |= {(model, cell["setting"]) for cell in new}
            rows = dict.fromkeys(cell["row"] for cell in new)
            if rows:
                yield {
                    "table": name,
                    "title": study["tables"][name]["title"],
                    "model": model,
                    "rows": [_row_finding([cell for cell in new if cell["row"] == row], cells, study) for row in rows],
                }


def _row_finding(row: list[Cell], cells: list[Cell], study: Study) -> dict[str, Any]:
    return {
        "label": row[0]["row"],
        "weak": any(_weak(cell["setting"], study) for cell in row),
        "changes": [(cell["prompts"], _change_and_price(cell, cells)) for cell in row],
    }


def _change_and_price(cell: Cell, cells: list[Cell]) -> str:
    price = _price_of(cell, cells)
    return measures.change(cell) + (f", and {measures.change(price)}" if price else "")


def _price_of(cell: Cell, cells: list[Cell]) -> Cell | None:
    if cell["metric"] == PRICE:
        return None
    key = (cell["model"], cell["setting"], cell["row"], PRICE)
    same = (other for other in cells if (other["model"], other["setting"], other["row"], other["metric"]) == key)
    return next(same, None)


def _effect_figures(cells: list[Cell], study: Study) -> list[dict[str, Any]]:
    """Draw every steered setting once, whichever tables it is in, a figure for each model and headline metric."""
    drawn = []
    for model in study["steered"]:
        for metric in HEADLINES:
            chosen = {
                cell["setting"]: cell
                for cell in reversed(cells)
                if cell["model"] == model and cell["metric"] == metric and measures.compared(cell)
            }
            ordered = [chosen[setting] for setting in study["settings"] if setting in chosen]
            if ordered:
                title = f"{measures.measure(metric).name.capitalize()}{_on_model(model, study)}"
                rows = [figures.Effect(_effect_label(cell, study), cell, _price_of(cell, cells)) for cell in ordered]
                name = f"{title}: differences to unsteered with 95 % intervals. The numbers are in the tables below."
                drawn.append({"title": title, "svg": figures.effects(rows, metric, name)})
    return drawn


def _on_model(model: str, study: Study) -> str:
    return f", {model}" if len(study["steered"]) > 1 else ""


def _effect_label(cell: Cell, study: Study) -> str:
    mark = " †" if _weak(cell["setting"], study) else ""
    return f"{cell['row']}, {cell['prompts']} prompts{mark}"


def _weak(setting: str, study: Study) -> bool:
    return not weak_steers(study).isdisjoint(study["settings"][setting]["steer"])


def _table(name: str, cells: list[Cell], path: Path, study: Study) -> dict[str, Any]:
    """Lay a table out as the paper does: a row for each model and label, a group of columns for each prompt set."""
    shown = {(cell["model"], cell["row"], cell["prompts"], cell["metric"]): cell for cell in cells}
    groups = []
    for prompts in dict.fromkeys(cell["prompts"] for cell in cells):
        present = {cell["metric"] for cell in cells if cell["prompts"] == prompts}
        first = next(cell for cell in cells if cell["prompts"] == prompts)
        groups.append(
            {
                "prompts": prompts,
                "metrics": [metric for metric in MEASURES if metric in present],
                "variants": [metric for metric in VARIANTS if metric in present],
                "n_prompts": first["n_prompts"],
                "n_generations": first["n_generations"],
            }
        )
    rows = dict.fromkeys((cell["model"], cell["row"]) for cell in cells)
    weak = {(cell["model"], cell["row"]) for cell in cells if _weak(cell["setting"], study)}
    return {
        "name": name,
        **study["tables"][name],
        "groups": groups,
        "models": {model: [row for which, row in rows if which == model] for model, _ in rows},
        "beside": [cell for cell in cells if cell.get("published", "") != ""],
        "cells": shown,
        "weak": weak,
        "scorers": list(dict.fromkeys((cell["scorer"], cell["version"]) for cell in cells)),
        "csv": base64.b64encode(path.read_bytes()).decode("ascii"),
    }


def _samples(study: Study, results: Path) -> list[dict[str, Any]]:
    """Return the same few prompts under every setting that is compared with one unsteered setting."""
    against = dict.fromkeys(setting["against"] for setting in study["settings"].values() if setting["against"])
    groups = []
    for model in study["steered"]:
        for unsteered in against:
            steered = [name for name, setting in study["settings"].items() if setting["against"] == unsteered]
            prompts = study["settings"][unsteered]["prompts"]
            groups.append(
                {
                    "model": model,
                    "prompts": prompts,
                    "toxic": study["prompts"][prompts]["toxic"],
                    "examples": _examples(results, model, study, [unsteered, *steered]),
                }
            )
    return groups


def _examples(results: Path, model: str, study: Study, settings: list[str]) -> list[dict[str, Any]]:
    """Choose prompts by their SHA-256, and of each the first continuation under the first seed."""
    texts = {
        setting: dict(zip(*read_generations(generation_file(results, model, study["seeds"][0], setting)), strict=True))
        for setting in settings
    }
    first = sorted(texts[settings[0]], key=lambda prompt: hashlib.sha256(prompt.encode()).hexdigest())
    return [
        {
            "prompt": prompt,
            "continuations": [
                {
                    "label": steer_label(study["settings"][setting]["steer"], study),
                    "weak": _weak(setting, study),
                    "text": texts[setting][prompt][0],
                }
                for setting in settings
                if prompt in texts[setting]
            ],
        }
        for prompt in first[:SAMPLE_PROMPTS]
    ]


def steer_label(steer: dict[str, dict[str, float]], study: Study) -> str:
    """Say what a setting is steered by: `detox 5, corpus 0`."""
    several = len(steer) > 1
    values = [
        (f"{name}." if several else "") + f"{dimension} {value:g}".replace(" -", " −")
        for name, given in steer.items()
        for dimension, value in {**dict.fromkeys(study["steers"][name]["dimensions"], 0), **given}.items()
    ]
    return ", ".join(values) or "unsteered"


def _curves(study: Study, results: Path) -> list[dict[str, Any]]:
    curves = []
    for model in study["steered"]:
        for name, steer in study["steers"].items():
            folder = results / "steers" / model / name
            logs = [read_jsonl(folder / f"seed{seed}" / "training.jsonl") for seed in study["seeds"]]
            dev = [row["dev_loss"] for row in logs[0] if "dev_loss" in row]
            caption = f"Loss of {name}{_on_model(model, study)} over {logs[0][-1]['step']} steps"
            if dev:
                caption += f": on dev texts from {dev[0]:.2f} to {dev[-1]:.2f}"
            curves.append(
                {
                    "caption": caption,
                    "dataset": steer["dataset"],
                    "weak": name in weak_steers(study),
                    "svg": figures.loss_curves(logs, caption),
                }
            )
    return curves
