"""The record behind each cell of a table: how its texts were generated, who scored them and when, and the files.

records(study, results, cells)          # one per model and setting; a cell of the page opens the record of its setting
missing(study, results)                 # the results that an unfinished run still lacks
"""

import sqlite3
from pathlib import Path
from typing import Any

from lm_steer.data import layout
from lm_steer.score.store import STORE
from lm_steer.study import targets
from lm_steer.study.config import Study
from lm_steer.tables.cells import Cell
from lm_steer.util.files import sha256_of


def records(study: Study, results: Path, cells: list[Cell]) -> list[dict[str, Any]]:
    """Return the record of every model and setting that a table shows."""
    dates = _dates_of_scores(results / ".cache" / STORE)
    behind: dict[tuple[str, str], dict[str, list[Cell]]] = {}
    for cell in cells:
        behind.setdefault((cell["model"], cell["setting"]), {}).setdefault(cell["judge"], []).append(cell)
    shown = []
    for (model, name), judges in behind.items():
        scorers = [
            {
                **judged[0],
                "dates": dates.get((judged[0]["scorer"], judged[0]["version"]), ""),
                "left_out": max(cell["left_out"] for cell in judged),
                "trainings": {cell["metric"]: cell["trainings"] for cell in judged},
                "files": _files(layout.scores(results, model, judge)),
            }
            for judge, judged in judges.items()
        ]
        texts = (layout.generations(results, model, seed, name) for seed in study.seeds_of(name))
        shown.append({"model": model, "setting": name, "files": _files(*texts), "scorers": scorers})
    return shown


def _dates_of_scores(store: Path) -> dict[tuple[str, str], str]:
    """Return the days on which each version of a scorer gave the stored scores."""
    if not store.exists():
        return {}
    database = sqlite3.connect(f"{store.resolve().as_uri()}?mode=ro", uri=True)
    query = "SELECT scorer, version, min(scored_at), max(scored_at) FROM scores GROUP BY scorer, version"
    try:
        rows = database.execute(query).fetchall()
    except sqlite3.DatabaseError:
        return {}
    finally:
        database.close()
    return {
        (scorer, version): " to ".join(dict.fromkeys(time[:10] for time in times if time))
        for scorer, version, *times in rows
    }


def _files(*paths: Path) -> dict[Path, str]:
    """Return the checksums of those files that exist."""
    return {path: sha256_of(path) for path in paths if path.exists()}


def missing(study: Study, results: Path) -> list[dict[str, Any]]:
    """Return, for each kind of result that is incomplete, how many a finished study has and which are missing."""
    expected = {
        "steers": [file for file in targets.trained_files(study) if file.endswith("steer_config.json")],
        "files of texts": targets.text_files(study),
        "tables": targets.table_files(study),
    }
    incomplete = []
    for kind, files in expected.items():
        names = [Path(file).relative_to(targets.RESULTS).as_posix() for file in files]
        if absent := [name for name in names if not (results / name).exists()]:
            incomplete.append({"kind": kind, "all": len(files), "missing": absent})
    return incomplete
