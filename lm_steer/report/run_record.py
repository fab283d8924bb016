"""The record of a run: what was asked, by which versions, on which machine, from which inputs, and what it cost.

    lm-steer record --study results/study.json -o results/run.json --benchmarks results/benchmarks.csv

It is the one place for what changes from run to run (dates, times, machines): tables hold none of it, so that the same
study gives the same bytes.
"""

import os
import platform
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import pandas as pd

from lm_steer.report.provenance import git_revision, output_of, packages_used
from lm_steer.study.config import Study
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import replacing, sha256_of, write_json
from lm_steer.util.formats import read_benchmark, read_record

# Of a benchmark file of Snakemake's: seconds, and memory in MB.
MEASURED = {"s": "seconds", "max_rss": "peak_memory_mb", "cpu_time": "cpu_seconds"}
# Recorded, but no dependency of the package by itself.
TOOLS = ("lm-steer", "snakemake", "snakemake-executor-plugin-slurm", "tokenizers")


def write_record(study: Study, results: Path, output: Path, benchmarks: Path) -> None:
    """Write the record of a finished run, and the benchmarks of its steps as one table."""
    if not results.is_dir():
        raise LMSteerError(f"{results}: there is no such folder: give the results of a run by --results")
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
    rows = []
    for path in sorted(folder.glob("*/*.tsv")):
        row = read_benchmark(path)
        rows.append({"rule": path.parent.name, "job": path.stem, **{MEASURED[key]: row[key] for key in MEASURED}})
    return pd.DataFrame(rows, columns=["rule", "job", *MEASURED.values()])


def hardware() -> dict[str, Any]:
    """Return what the machine is made of that writes the record."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text(encoding="utf-8").splitlines() if cpu.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    query = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": next(names, platform.processor() or platform.machine()),
        "cores": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "gpus": output_of(*query).splitlines(),
    }


def _versions() -> Iterator[tuple[str, str]]:
    """Yield the packages that make the numbers: the tools, and what this package asks for itself."""
    try:
        asked = [line for line in requires("lm-steer") or [] if "extra ==" not in line]
    except PackageNotFoundError:
        asked = []
    names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in asked]
    for name in sorted({*TOOLS, *names}, key=str.lower):
        with suppress(PackageNotFoundError):
            yield name, version(name)


def _inputs(study: Study, results: Path) -> Iterator[tuple[str, str]]:
    """Yield every file that the numbers start from with its sha256: data, prompts, weights, own generations."""
    for pattern in ("data/*/*.parquet", "prompts/*.jsonl"):
        for path in sorted(results.glob(pattern)):
            yield str(path), sha256_of(path)
    for path in sorted(results.glob("models/*/lm_steer_model.json")):
        for name, checksum in read_record(path.parent)["files"].items():
            yield f"{path.parent}/{name}", checksum
    named = [getattr(block, "path", "") for block in [*study.datasets.values(), *study.prompts.values()]]
    named += [setting.generations for setting in study.settings.values()]
    for name in named:
        if name and Path(name).is_file():
            yield name, sha256_of(name)
