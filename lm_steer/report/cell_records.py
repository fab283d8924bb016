"""The record behind each cell of a table: how its texts were made, who scored them and when, and the files.

records(study, results, tables)         # one per model and setting; a cell of the page opens the record of its setting
missing(study, results)                 # what an unfinished run has not made yet
"""

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lm_steer.report.findings import steer_label
from lm_steer.score.store import STORE
from lm_steer.study.config import Study
from lm_steer.study.settings import Sampling
from lm_steer.tables.cells import Cell
from lm_steer.tables.metrics import named
from lm_steer.tables.table import EXTERNAL, generation_file
from lm_steer.util.files import sha256_of


def records(study: Study, results: Path, tables: dict[str, list[Cell]]) -> list[dict[str, Any]]:
    """Return the record of every model and setting that a table shows."""
    cells: dict[tuple[str, str], list[Cell]] = {}
    for table, shown in tables.items():
        for cell in shown:
            scorer = scorer_of(cell, table, study)
            cells.setdefault((cell["model"], cell["setting"]), []).append({**cell, "judge": scorer})
    dates: dict[tuple[str, str], str] = {}
    return [_record(model, setting, own, study, results, dates) for (model, setting), own in cells.items()]


def record_id(model: str, setting: str) -> str:
    """Return the address of a record on the page."""
    return f"of-{model}-{setting}"


def scorer_of(cell: Cell, table: str, study: Study) -> str:
    """Return the study's name of the scorer behind a cell; a table names it where its settings have several."""
    chosen, attribute = study.tables[table].scorers, named(cell["metric"]).attribute
    for name in study.settings[cell["setting"]].scorers:
        if study.scorers[name].described.attribute == attribute and (not chosen or name in chosen):
            return name
    return cell["scorer"]


def _record(
    model: str, name: str, cells: list[Cell], study: Study, results: Path, dates: dict[tuple[str, str], str]
) -> dict[str, Any]:
    setting = study.settings[name]
    seeds = [0] if model == EXTERNAL else study.seeds
    sampling = study.sampling_of(setting)
    block = study.prompts[setting.prompts]
    made = f"made elsewhere: {setting.generations}" if setting.generations else steer_label(setting.steer, study)
    return {
        "id": record_id(model, name),
        "model": model,
        "setting": name,
        "made": made,
        "prompts": f"{setting.prompts}, from {block.source}",
        "sampling": "" if setting.generations else _words(sampling),
        "against": setting.against,
        "files": list(_files(generation_file(results, model, seed, name) for seed in seeds)),
        "scorers": [
            _scorer(scorer, [cell for cell in cells if cell["judge"] == scorer], model, results, dates)
            for scorer in dict.fromkeys(cell["judge"] for cell in cells)
        ],
    }


def _words(sampling: Sampling) -> str:
    limit = f"top-k {sampling.top_k}" if sampling.top_k else "no top-k"
    return f"{sampling.samples} a prompt, {sampling.new_tokens} tokens each, top-p {sampling.top_p}, {limit}"


def _scorer(
    name: str, cells: list[Cell], model: str, results: Path, dates: dict[tuple[str, str], str]
) -> dict[str, Any]:
    first = cells[0]
    key = (first["scorer"], first["version"])
    if key not in dates:
        dates[key] = _scored_between(results / ".cache" / STORE, *key)
    counts = {count: first[count] for count in ("n_prompts", "n_generations", "seeds")}
    left_out = max(cell["left_out"] for cell in cells)
    files = list(_files([results / "scores" / model / f"{name}.parquet"]))
    return {
        "name": name,
        "version": first["version"],
        "dates": dates[key],
        "left_out": left_out,
        "files": files,
        **counts,
    }


def _scored_between(store: Path, scorer: str, version: str) -> str:
    """Return the days on which a version of a scorer gave the scores that are kept, or nothing where none are."""
    if not store.exists():
        return ""
    database = sqlite3.connect(f"{store.resolve().as_uri()}?mode=ro", uri=True)
    try:
        asked = "SELECT min(scored_at), max(scored_at) FROM scores WHERE scorer = ? AND version = ?"
        first, last = database.execute(asked, (scorer, version)).fetchone()
    except sqlite3.DatabaseError:
        return ""
    finally:
        database.close()
    return " to ".join(dict.fromkeys(time[:10] for time in (first, last) if time))


def _files(paths: Iterable[Path]) -> Iterator[dict[str, str]]:
    for path in paths:
        if path.exists():
            yield {"path": str(path), "sha256": sha256_of(path)}


def missing(study: Study, results: Path) -> list[dict[str, Any]]:
    """Return, for each kind of result, how many a finished study has and which are not there yet."""
    agreements = [f"agreement-{name}" for name in study.agreement]
    elsewhere = [name for name, setting in study.settings.items() if setting.generations]
    here = [name for name in study.settings if name not in elsewhere]
    wanted = {
        "steers": {
            f"{name}, {model}, seed {seed}": results / "steers" / model / name / f"seed{seed}" / "steer_config.json"
            for model in study.steered
            for name in study.steers
            for seed in study.seeds
        },
        "files of texts": {
            f"{name}, {model}, seed {seed}": generation_file(results, model, seed, name)
            for models, seeds, names in ((study.steered, study.seeds, here), ([EXTERNAL], [0], elsewhere))
            for model in models
            for seed in seeds
            for name in names
        },
        "tables": {name: results / "tables" / f"{name}.csv" for name in [*study.tables, *agreements]},
    }
    return [
        {"kind": kind, "all": len(files), "missing": [name for name, path in files.items() if not path.exists()]}
        for kind, files in wanted.items()
        if any(not path.exists() for path in files.values())
    ]
