"""Where every number of the page is from: models, data, steers, scorers, code, time.

    provenance(study, results, cells)              # what the footer of the page shows

What a run has not made yet is left out.
"""

import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lm_steer
from lm_steer.data import layout
from lm_steer.fetch.packages import Package, packages
from lm_steer.study.config import Study
from lm_steer.tables.cells import Cell
from lm_steer.util.files import read_json
from lm_steer.util.formats import RECORD, read_benchmark, read_record

# Dimensions are of a steer, not of its recipe; a recipe's seed is the study's.
RECIPE = {
    "kind": "Kind",
    "rank": "Rank",
    "epsilon": "ε",
    "steps": "Steps",
    "batch_size": "Batch",
    "learning_rate": "Learning rate",
    "regularization": "λ",
    "max_length": "Longest text, tokens",
    "loss_on_padding": "Padding in the loss",
}

# What is shown of files that other steps wrote.
NUMBER = int | float
COUNTS = dict.fromkeys(("texts", "negative", "neutral", "positive"), int)
STEER = {"dimensions": [str], "about": {"recipe": dict.fromkeys(RECIPE, object), "texts": int}}
JUDGE = {
    **{"trained_on": str, "texts": int, "left_out_as_overlapping": int},
    **{"held_out_texts": int, "held_out_accuracy": NUMBER},
}
RUN = {
    **{"recorded_at": str, "versions": {str: str}, "inputs": dict, "seconds": NUMBER, "steps": list},
    "hardware": {"cores": int, "processor": str, "memory_mb": NUMBER, "gpus": [str]},
}


def provenance(study: Study, results: Path, cells: Iterable[Cell]) -> dict[str, Any]:
    """Return all that the page says of its origin."""
    steps = {}
    for path in sorted((results / "benchmarks").glob("**/*.tsv")):
        row = read_benchmark(path)
        steps[path.relative_to(results / "benchmarks").with_suffix("").as_posix()] = (row["s"], row["max_rss"])
    models = {name: layout.model(results, name) for name in study.models_used}
    # Each as its first training wrote it down: models and seeds share that.
    steers = {name: layout.steer(results, study.steered[0], name, study.seeds[0]) for name in study.steers}
    return {
        "models": {name: read_record(folder) for name, folder in models.items() if (folder / RECORD).exists()},
        "packages": packages_used(study),
        "datasets": _read({name: layout.counts(results, name) for name in study.datasets}, COUNTS),
        "recipe": RECIPE,
        "steers": _read({name: folder / "steer_config.json" for name, folder in steers.items()}, STEER),
        "scorers": [_scorer(name, study, results, cells) for name in study.scorers],
        "steps": steps,
        "total_seconds": sum(seconds for seconds, _ in steps.values()),
        "peak_memory": max((memory for _, memory in steps.values() if memory > 0), default=0),
        "version": lm_steer.__version__,
        "revision": git_revision(),
        "record": read_json(results / "run.json", RUN) if (results / "run.json").exists() else None,
        "date": datetime.now(UTC).date().isoformat(),
    }


def weak_steers(study: Study) -> set[str]:
    """Return the steers that were trained on weak labels."""
    return {name for name, steer in study.steers.items() if study.datasets[steer.dataset].described.weak}


def packages_used(study: Study) -> list[Package]:
    """Return the files of the package registry that a study reads, each once."""
    models = [study.models[name] for name in study.models_used]
    names = [model.id for model in models if model.source == "package"]
    blocks = [*study.datasets.values(), *study.prompts.values(), *study.scorers.values()]
    names += [name for block in blocks for name in block.described.packages]
    known = packages()
    return [known[name] for name in dict.fromkeys(names) if name in known]


def _read(paths: dict[str, Path], shape: Any) -> dict[str, dict[str, Any]]:
    return {name: read_json(path, shape) for name, path in paths.items() if path.exists()}


def _scorer(name: str, study: Study, results: Path, cells: Iterable[Cell]) -> dict[str, Any]:
    """A scorer, the versions of it in the tables, and what is known of its judge."""
    scorer = study.scorers[name]
    note = layout.judge(results, name) / "judge.json"
    return {
        "name": name,
        "kind": scorer.kind,
        "versions": list(dict.fromkeys(cell["version"] for cell in cells if cell["judge"] == name)),
        "judge": read_json(note, JUDGE) if note.exists() else None,
        "note": scorer.described.note,
        "prompts": scorer.prompts,
        "held_out": getattr(scorer, "held_out", ""),
        "own_model": getattr(scorer, "model", "") in study.steered,
    }


def git_revision() -> str:
    """Return the git revision of the package's own checkout, or nothing where it is installed without one."""
    git = ("git", "-C", str(Path(__file__).parent))
    if output_of(*git, "rev-parse", "--show-prefix").strip() != "lm_steer/report/":
        return ""
    return output_of(*git, "describe", "--always", "--dirty").strip()


def output_of(*command: str) -> str:
    """Return what a command prints, or nothing where it fails or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""
