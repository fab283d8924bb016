"""The record: what each part of it is read from. The workflow's tests look at a whole one."""

import importlib.metadata

import pytest
import yaml

from lm_steer.report.provenance import benchmark_table, write_record
from lm_steer.study.config import resolved
from lm_steer.util.files import read_json, sha256_of

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


@pytest.fixture
def run(project, monkeypatch):
    """A folder with a study, and of its results what a record is read from."""
    benchmarks = project / "results/benchmarks/train"
    benchmarks.mkdir(parents=True)
    (benchmarks / "tiny.style.seed0.tsv").write_text(HEADER + "9.5\t0:00:09\t514.8\t1\t1\t1\t1\t1\t1\t5.9\n")
    (benchmarks / "tiny.style.seed1.tsv").write_text(HEADER + "0.5\t0:00:00\tNA\tNA\tNA\tNA\tNA\tNA\tNA\tNA\n")
    (project / "results/tables").mkdir()
    (project / "results/tables/effect.csv").write_text("model,value\n")
    monkeypatch.chdir(project)
    return project


def record_of(run):
    study = resolved(yaml.safe_load((run / "config/config.yaml").read_text(encoding="utf-8")))
    results = run.relative_to(run) / "results"
    write_record(study, results, results / "run.json", results / "benchmarks.csv")
    return read_json(results / "run.json")


def test_a_record_says_what_was_asked_and_from_what(run):
    record = record_of(run)
    assert record["study"]["sampling"]["samples"] == 2 and record["seeds"] == [0]
    assert record["inputs"]["texts.jsonl"] == sha256_of(run / "texts.jsonl")
    assert record["tables"]["results/tables/effect.csv"] == sha256_of(run / "results/tables/effect.csv")
    for name in ("torch", "transformers", "snakemake"):
        assert record["versions"][name] == importlib.metadata.version(name)
    assert record["hardware"]["cores"] >= 1 and record["hardware"]["memory_mb"] > 100


def test_benchmarks_become_one_table(run):
    record = record_of(run)
    table = benchmark_table(run / "results/benchmarks")
    assert list(table["job"]) == ["tiny.style.seed0", "tiny.style.seed1"]
    # A job that was too short to be measured has no memory; that is no zero.
    assert [step["peak_memory_mb"] for step in record["steps"]] == [514.8, None]
    assert record["seconds"] == 10.0
    assert (run / "results/benchmarks.csv").read_text(encoding="utf-8").count("\n") == 3
