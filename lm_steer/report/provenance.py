"""The origin of every number: models, data, steers, scorers, code and times, for the page and the run's record.

    provenance(study, results, cells)              # leaves out what a run has not written yet
    lm-steer record --study results/study.json -o results/run.json --benchmarks results/benchmarks.csv

Only the record holds what changes from run to run (dates, times, machines), so that the same study gives the same bytes
in every other file.
"""

import os
import platform
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import pandas as pd

import lm_steer
from lm_steer.data import layout
from lm_steer.fetch.packages import Package, packages
from lm_steer.study.config import Study
from lm_steer.tables.cells import Cell
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import read_json, replacing, sha256_of, write_json
from lm_steer.util.formats import RECORD, read_benchmark, read_record
from lm_steer.util.machine import output_of, processor

# Without dimensions, which belong to the steer, and the seed, which is the study's.
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

# Columns of Snakemake's benchmark files: seconds, and memory in MB.
MEASURED = {"s": "seconds", "max_rss": "peak_memory_mb", "cpu_time": "cpu_seconds"}
# Recorded although the package itself does not depend on them.
TOOLS = ("lm-steer", "snakemake", "snakemake-executor-plugin-slurm", "tokenizers")
# The fields that are read from files of other steps.
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
    """Return everything the page's footer shows."""
    measured = benchmark_table(results / "benchmarks")
    models = {name: layout.model(results, name) for name in study.models_used}
    # From the first training of each steer: other models and seeds share its recipe.
    steers = {name: layout.steer(results, study.steered[0], name, study.seeds[0]) for name in study.steers}
    return {
        "models": {name: read_record(folder) for name, folder in models.items() if (folder / RECORD).exists()},
        "packages": packages_used(study),
        "datasets": _read({name: layout.counts(results, name) for name in study.datasets}, COUNTS),
        "recipe": RECIPE,
        "steers": _read({name: folder / "steer_config.json" for name, folder in steers.items()}, STEER),
        "scorers": {name: _scorer(name, results, cells) for name in study.scorers},
        "steps": measured.to_dict("records"),
        "total_seconds": measured["seconds"].sum(),
        "peak_memory": measured["peak_memory_mb"].max(),
        "version": lm_steer.__version__,
        "revision": git_revision(),
        "record": read_json(results / "run.json", RUN) if (results / "run.json").exists() else None,
        "date": datetime.now(UTC).date().isoformat(),
    }


def weak_steers(study: Study) -> set[str]:
    """Return the steers that were trained on weak labels."""
    return {name for name, steer in study.steers.items() if study.datasets[steer.dataset].weak}


def packages_used(study: Study) -> list[Package]:
    """Return the files from the package registry that a study reads, each once."""
    models = [study.models[name] for name in study.models_used]
    names = [model.id for model in models if model.source == "package"]
    for block in (*study.datasets.values(), *study.prompts.values(), *study.scorers.values()):
        names += block.packages
    return [packages()[name] for name in dict.fromkeys(names) if name in packages()]


def _read(paths: dict[str, Path], shape: Any) -> dict[str, dict[str, Any]]:
    return {name: read_json(path, shape) for name, path in paths.items() if path.exists()}


def _scorer(name: str, results: Path, cells: Iterable[Cell]) -> dict[str, Any]:
    """Return the versions of a scorer in the tables, and the record of its judge if it was trained."""
    note = layout.judge(results, name) / "judge.json"
    versions = list(dict.fromkeys(cell["version"] for cell in cells if cell["judge"] == name))
    return {"versions": versions, "judge": read_json(note, JUDGE) if note.exists() else None}


def write_record(study: Study, results: Path, output: Path, benchmarks: Path) -> None:
    """Write the record of a finished run, and the benchmarks of its steps as one table."""
    if not results.is_dir():
        raise LMSteerError(f"{results}: no such folder: pass the results of a run as --results")
    measured = benchmark_table(results / "benchmarks")
    record = {
        "recorded_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "study": study.dump(),
        "seeds": study.seeds,
        "versions": {"python": platform.python_version(), **dict(_versions())},
        "git": git_revision(),
        "hardware": hardware(),
        "inputs": dict(_inputs(study, results)),
        "packages": {package.file: package.sha256 for package in packages_used(study)},
        "tables": {str(path): sha256_of(path) for path in sorted((results / "tables").glob("*.csv"))},
        "seconds": round(float(measured["seconds"].sum()), 1),
        "steps": measured.astype(object).where(measured.notna(), None).to_dict("records"),
    }
    with replacing(benchmarks) as temporary:
        measured.to_csv(temporary, index=False)
    write_json(output, record)


def benchmark_table(folder: Path) -> pd.DataFrame:
    """Return the last measurement of every job: rule, job, seconds, peak_memory_mb, cpu_seconds."""
    paths = sorted(folder.glob("*/*.tsv"))
    rows = [{"rule": path.parent.name, "job": path.stem, **read_benchmark(path)} for path in paths]
    return pd.DataFrame(rows, columns=["rule", "job", *MEASURED]).rename(columns=MEASURED)


def hardware() -> dict[str, Any]:
    """Return the hardware of this machine."""
    query = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "gpus": output_of(*query).splitlines(),
    }


def _versions() -> Iterator[tuple[str, str]]:
    """Yield the versions of the packages behind the numbers: the tools, and this package's own dependencies."""
    try:
        dependencies = [line for line in requires("lm-steer") or [] if "extra ==" not in line]
    except PackageNotFoundError:
        dependencies = []
    names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in dependencies]
    for name in sorted({*TOOLS, *names}, key=str.lower):
        with suppress(PackageNotFoundError):
            yield name, version(name)


def _inputs(study: Study, results: Path) -> Iterator[tuple[str, str]]:
    """Yield every input file with its sha256: data, prompts, weights, generations made elsewhere."""
    for pattern in ("data/*/*.parquet", "prompts/*.jsonl"):
        for path in sorted(results.glob(pattern)):
            yield str(path), sha256_of(path)
    for path in sorted(results.glob("models/*/lm_steer_model.json")):
        for name, checksum in read_record(path.parent)["files"].items():
            yield f"{path.parent}/{name}", checksum
    paths = [getattr(block, "path", "") for block in [*study.datasets.values(), *study.prompts.values()]]
    paths += [setting.generations for setting in study.settings.values()]
    for name in paths:
        if name and Path(name).is_file():
            yield name, sha256_of(name)


def git_revision() -> str:
    """Return the git revision of the package's checkout, or "" if it is installed without one."""
    git = ("git", "-C", str(Path(__file__).parent))
    if output_of(*git, "rev-parse", "--show-prefix").strip() != "lm_steer/report/":
        return ""
    return output_of(*git, "describe", "--always", "--dirty").strip()
