"""The findings of a study in words: one sentence for each steered row and set of prompts.

claims(tables, study)       # [{"title": "Sentiment", "claims": [{"row": "sentiment +5", "verb": "raised", …}]}, …]
first_claims(groups)        # the few that the page begins with
"""

from itertools import product
from typing import Any

from lm_steer.report.families import steer_values
from lm_steer.report.provenance import weak_steers
from lm_steer.report.wording import claim, compared, value_text
from lm_steer.study.config import Study
from lm_steer.tables.cells import Cell, headlines, shown
from lm_steer.tables.metrics import PRICE
from lm_steer.util.words import CORPUS

FIRST_CLAIMS = 4


def claims(tables: dict[str, list[Cell]], study: Study) -> list[dict[str, Any]]:
    """Return, for each table and model, a sentence per steered cell; a setting is described in its first table only."""
    groups = []
    seen: set[tuple[str, str]] = set()
    for (name, cells), model in product(tables.items(), study.steered):
        # The first metric that steers aim at, or else the first.
        headline = (headlines(cells) or [metric.name for metric in shown(cells)])[0]
        compared_cells = [
            cell
            for cell in cells
            if (cell["model"], cell["metric"]) == (model, headline)
            and compared(cell)
            and (model, cell["setting"]) not in seen
        ]
        seen |= {(model, cell["setting"]) for cell in compared_cells}
        if compared_cells:
            title = f"{study.tables[name].title}{on_model(model, study)}"
            sentences = [_claim(cell, cells, study) for cell in compared_cells]
            groups.append({"table": name, "title": title, "claims": sentences})
    return groups


def first_claims(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first sentence of each group, those on toxic prompts last."""
    firsts = [group["claims"][0] for group in groups]
    return sorted(firsts, key=lambda first: first["toxic"])[:FIRST_CLAIMS]


def _claim(cell: Cell, cells: list[Cell], study: Study) -> dict[str, Any]:
    return {
        **claim(cell, price_of(cell, cells)),
        "row": f"{cell['row']}{on_model(cell['model'], study)}",
        "weak": is_weak(cell["setting"], study),
        "toxic": study.prompts[cell["prompts"]].toxic,
    }


def price_of(cell: Cell, cells: list[Cell]) -> Cell | None:
    """Return the perplexity in the same row as a cell, if any."""
    if cell["metric"] == PRICE:
        return None
    key = (cell["model"], cell["setting"], cell["row"], PRICE)
    same = (other for other in cells if (other["model"], other["setting"], other["row"], other["metric"]) == key)
    return next(same, None)


def is_weak(setting: str, study: Study) -> bool:
    """Whether a setting uses a steer that was trained on weak labels."""
    return not weak_steers(study).isdisjoint(study.settings[setting].steer)


def on_model(model: str, study: Study) -> str:
    """Return ", MODEL" if the study has several models, else nothing."""
    return f", {model}" if len(study.steered) > 1 else ""


def steer_label(steer: dict[str, dict[str, float]], study: Study) -> str:
    """Return a readable label of a setting's steer: `detox +5`, `detox +5, corpus 0`, `corpus +1 alone`, `unsteered`.

    The corpus dimension is at 1 unless the name says otherwise.
    """
    values = steer_values(steer, study)
    names = [name for _, name in values]
    styles = [
        f"{name if names.count(name) == 1 else steer_name} {value_text(value)}"
        for (steer_name, name), value in values.items()
        if name != CORPUS and value
    ]
    corpora = {name: value for (name, dimension), value in values.items() if dimension == CORPUS}
    if not styles:
        alone = [f"{CORPUS} {value_text(value)} alone" for value in corpora.values() if value]
        return ", ".join(alone) or "unsteered"
    several = len(corpora) > 1
    others = [
        f"{CORPUS}{f' of {name}' if several else ''} {value_text(value)}"
        for name, value in corpora.items()
        if value != 1
    ]
    return ", ".join([*styles, *others])
