"""Texts for the page: the same few prompts under every setting, and over the values of a dial.

    side_by_side(study, results), dials(study, results, cells)

No text is picked by hand: the prompts are those with the smallest SHA-256. Only their lines are parsed, so that the
page of a study with 10,000 prompts takes seconds.
"""

import hashlib
from itertools import product
from pathlib import Path
from typing import Any

from lm_steer.data import layout
from lm_steer.data.prompt_files import GENERATED, read_prompts
from lm_steer.report.families import families
from lm_steer.report.findings import is_weak, on_model, steer_label
from lm_steer.report.wording import value_text
from lm_steer.study.config import Study
from lm_steer.tables.cells import Cell, by_setting, headlines
from lm_steer.tables.metrics import PRICE
from lm_steer.util.files import fitting, parse_json, read_text

UNSTEERED = "unsteered"
SAMPLE_PROMPTS = 6
DIAL_PROMPTS = 8


def side_by_side(study: Study, results: Path) -> list[dict[str, Any]]:
    """Return, for each unsteered setting, the same few prompts under it and every setting compared with it."""
    groups = []
    against = dict.fromkeys(setting.against for setting in study.settings.values() if setting.against)
    for model, unsteered in product(study.steered, against):
        steered = [name for name, setting in study.settings.items() if setting.against == unsteered]
        texts = _texts(results, model, study, [unsteered, *steered], SAMPLE_PROMPTS)
        if len(texts) > 1:
            prompts = study.settings[unsteered].prompts
            labels = {name: steer_label(study.settings[name].steer, study) for name in texts}
            # The first continuation of each prompt under the first seed.
            examples = {
                prompt: [
                    (labels[name], is_weak(name, study), by_prompt[prompt][0]) for name, by_prompt in texts.items()
                ]
                for prompt in next(iter(texts.values()))
            }
            groups.append({"model": model, "prompts": prompts, "examples": examples})
    return groups


def dials(study: Study, results: Path, cells: list[Cell]) -> list[dict[str, Any]]:
    """Return, for each model and family of settings, the metrics and texts of each value on the same prompts.

    The unsteered setting comes first.
    """
    result = []
    for model, family in product(study.steered, families(study)):
        named = {UNSTEERED: family.unsteered, **{value_text(value): name for value, name in family.settings.items()}}
        texts = _texts(results, model, study, list(dict.fromkeys(filter(None, named.values()))), DIAL_PROMPTS)
        rows = {label: setting for label, setting in named.items() if setting in texts}
        if len(rows.keys() - {UNSTEERED}) < 2:
            continue
        columns = {metric: by_setting(cells, model, metric) for metric in (*headlines(cells), PRICE)}
        metrics = [metric for metric, column in columns.items() if not column.keys().isdisjoint(rows.values())]
        result.append(
            {
                "name": f"dial-{model}-{family.name}",
                "title": f"{family.title}: {family.prompts} prompts{on_model(model, study)}",
                "short": f"{family.dimension}{on_model(model, study)}",
                "dimension": family.dimension,
                "toxic": study.prompts[family.prompts].toxic,
                "weak": any(is_weak(setting, study) for setting in rows.values()),
                "metrics": metrics,
                "rows": {label: [columns[metric].get(name) for metric in metrics] for label, name in rows.items()},
                "prompts": {
                    prompt: {label: texts[name][prompt][0] for label, name in rows.items()}
                    for prompt in next(iter(texts.values()))
                },
            }
        )
    return result


def _texts(results: Path, model: str, study: Study, settings: list[str], count: int) -> dict[str, dict[str, list[str]]]:
    """Return {setting: {prompt: texts}} for the same `count` prompts; settings without a file are left out.

    The settings have the same prompts in the same order.
    """
    paths = ((setting, layout.generations(results, model, study.seeds[0], setting)) for setting in settings)
    files = {setting: path for setting, path in paths if path.exists()}
    if not files:
        return {}
    # A prompt file is fast to read; a file of generations has the same prompts in the same order.
    prompt_file = layout.prompts(results, study.settings[settings[0]].prompts)
    prompts = read_prompts(prompt_file if prompt_file.exists() else next(iter(files.values())))
    digests = [hashlib.sha256(prompt.encode()).hexdigest() for prompt in prompts]
    chosen = sorted(range(len(prompts)), key=digests.__getitem__)[:count]
    texts = {setting: _lines(path, chosen) for setting, path in files.items()}
    # A file left by an earlier run with other prompts counts as missing.
    selection = {prompts[number] for number in chosen}
    return {setting: by_prompt for setting, by_prompt in texts.items() if by_prompt.keys() == selection}


def _lines(path: Path, numbers: list[int]) -> dict[str, list[str]]:
    """Return {prompt: texts} of some lines of a file of generations, in the order of `numbers`."""
    lines = read_text(path).split("\n")
    parsed = {number: parse_json(lines[number], path, number + 1) for number in numbers if number < len(lines)}
    rows = [fitting(row, GENERATED, f"{path}, line {number + 1}") for number, row in parsed.items()]
    return {row["prompt"]["text"]: [generation["text"] for generation in row["generations"]] for row in rows}
