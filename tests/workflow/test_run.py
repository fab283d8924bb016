"""The workflow from end to end on a study in miniature: what runs, what runs again, and what does not."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import yaml
from running import run_snakemake


def jobs(result) -> set[str]:
    """The rules that a dry run would run, target rules aside."""
    table = result.stdout.split("Job stats:")[-1].split("Reasons:")[0]
    return set(re.findall(r"^(\w+) +\d+$", table, re.MULTILINE)) - {"total", "default", "all"}


REPORT = ("record", "page", "figures")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def tables(project: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((project / "results/tables").glob("*.csv")))


def test_a_study_runs_once_and_again_only_where_it_was_edited(project, snakemake):
    planned = snakemake("-n")
    scoring = {"score", "score_by_model", "gather_scores"}
    assert jobs(planned) == {
        "model",
        "dataset",
        "prompts",
        "train",
        "generate",
        "gather",
        *scoring,
        "table",
        "study",
        *REPORT,
    }
    snakemake()
    assert (project / "reports/index.html").exists()
    before = tables(project)
    assert b"perplexity" in before and b"avg_max_toxicity" in before
    record = json.loads((project / "results/run.json").read_text(encoding="utf-8"))
    assert {step["rule"] for step in record["steps"]} >= {"train", "generate", "score", "table"}
    assert record["inputs"]["texts.jsonl"] and record["study"]["settings"]["styled"]["against"] == "plain"

    assert "Nothing to be done" in snakemake().stdout
    for arguments in (["--report", "reports/report.zip"], ["--rulegraph"]):
        # Neither asks for cores.
        run = run_snakemake(project, *arguments, PYTHONPATH=str(project), XDG_CACHE_HOME=str(project / ".xdg"))
        assert run.returncode == 0, run.stdout
    with zipfile.ZipFile(project / "reports/report.zip") as archive:
        names = {Path(name).name for name in archive.namelist()}
    assert {"effect.csv", "index.html", "effects-tiny-avg_max_toxicity.svg", "loss-tiny-style.svg"} <= names

    steps = snakemake("-n", "--config", "steers={style: {steps: 7}}")
    assert jobs(steps) == {"train", "generate", "gather", *scoring, "table", "study", *REPORT}
    title = snakemake("-n", "--config", "title=Another")
    assert jobs(title) == {"study", *REPORT}
    value = snakemake("-n", "--config", "settings={styled: {steer: {style: {style: 4}}}}")
    assert jobs(value) == {"generate", "gather", *scoring, "table", "study", *REPORT}

    edit(project / "lm_steer/metrics.py", "DRAWS = 1000", "DRAWS = 999")
    assert jobs(snakemake("-n")) == {"table", *REPORT}
    edit(project / "lm_steer/metrics.py", "DRAWS = 999", "DRAWS = 1000")
    edit(project / "lm_steer/loss.py", "CHUNK_BYTES = 64 << 20", "CHUNK_BYTES = 32 << 20")
    assert jobs(snakemake("-n")) == {"train", "generate", "gather", *scoring, "table", *REPORT}
    edit(project / "lm_steer/loss.py", "CHUNK_BYTES = 32 << 20", "CHUNK_BYTES = 64 << 20")

    # The same study, from nothing and without what is remembered outside the workflow's files: the same bytes.
    for folder in ("results", "reports"):
        (project / folder).rename(project / f"old-{folder}")
    snakemake("tables")
    assert tables(project) == before


def test_an_edited_value_generates_that_setting_alone(project, snakemake):
    snakemake("texts")
    plain = (project / "results/generations/tiny/seed0/plain.jsonl").read_bytes()
    styled = (project / "results/generations/tiny/seed0/styled.jsonl").read_bytes()
    again = snakemake("texts", "--config", "settings={styled: {steer: {style: {style: -90000}}}}")
    assert "generate plain: 6 prompts done" in again.stdout and "(6 found from an earlier run)" in again.stdout
    assert (project / "results/generations/tiny/seed0/plain.jsonl").read_bytes() == plain
    assert (project / "results/generations/tiny/seed0/styled.jsonl").read_bytes() != styled


def test_texts_and_scores_do_not_depend_on_the_number_of_shards(project, snakemake):
    def made() -> dict[str, bytes]:
        folders = [project / "results/generations/tiny/seed0", project / "results/scores/tiny"]
        found = {path.name: path for folder in folders for path in folder.iterdir()}
        return {
            name: pd.read_parquet(path).to_csv().encode() if path.suffix == ".parquet" else path.read_bytes()
            for name, path in found.items()
        }

    snakemake("scores")
    whole = made()
    assert "perplexity.parquet" in whole
    shutil.rmtree(project / "results/.cache")
    # Six prompts over eight jobs: some have none.
    snakemake("scores", "--config", "shards=8")
    assert made() == whole
    for path in ("generations/tiny/seed0/plain.jsonl", "scores/tiny/perplexity.parquet"):
        assert len(list((project / "results/shards").glob(f"*-of-8/{path}"))) == 8


def test_a_study_on_the_command_line_replaces_the_default_whole(project, snakemake):
    study = yaml.safe_load((project / "config/config.yaml").read_text(encoding="utf-8"))
    study["settings"] = {"only": study["settings"]["plain"]}
    study["tables"] = {"one": {"title": "One", "rows": {"Unsteered": ["only"]}}}
    (project / "other.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    (project / "more.yaml").write_text("settings: {only: {scorers: [toxicity]}}", encoding="utf-8")
    other = snakemake("-n", "texts", "--configfile", "other.yaml").stdout
    assert "only.jsonl" in other and "styled.jsonl" not in other
    merged = snakemake("-n", "scores", "--configfile", "other.yaml", "more.yaml").stdout
    assert "toxicity.parquet" in merged and "perplexity.parquet" not in merged
    seeds = snakemake("-n", "steers", "--configfile", "other.yaml", "--config", "seeds=[3]").stdout
    assert "seed3" in seeds and "seed0" not in seeds


def test_two_models_and_seeds_fill_every_cell(project, snakemake, model_folder):
    models = {
        "tiny": {"source": "folder", "id": str(model_folder)},
        "twin": {"source": "folder", "id": str(model_folder)},
    }
    snakemake("--config", f"models={json.dumps(models)}", "seeds=[0, 1]")
    table = (project / "results/tables/effect.csv").read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith("twin,Steered") for line in table) == sum(
        line.startswith("tiny,Steered") for line in table
    )
    # The same weights under another name make the same numbers.
    assert [line.split(",", 1)[1] for line in table if line.startswith("tiny")] == [
        line.split(",", 1)[1] for line in table if line.startswith("twin")
    ]


def test_a_study_longer_than_an_argument_may_be(project, snakemake):
    path = project / "config/config.yaml"
    study = yaml.safe_load(path.read_text(encoding="utf-8"))
    text = "It's a {text} of 200 kB. " * 8000
    study["analyses"] = {
        "sweeps": {
            "many": {
                "steer": "style",
                "dimension": "style",
                "prompts": "few",
                "scorers": ["toxicity"],
                "values": list(range(1, 401)),
            }
        },
        "evidence": {"long": {"steer": "style", "dimension": "style", "value": 5, "texts": [text]}},
    }
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    assert {"effects", "table", "evidence"} <= jobs(snakemake("-n"))
    snakemake("results/study.json")
    kept = json.loads((project / "results/study.json").read_text(encoding="utf-8"))
    assert len(kept["analyses"]["sweeps"]["many"]["points"]) == 401
    assert kept["analyses"]["evidence"]["long"]["texts"] == [text]
    assert "Nothing to be done" in snakemake("results/study.json").stdout


def test_target_rules_rulegraph_and_lint(project, snakemake):
    for target, last in (("data", "prompts"), ("steers", "train"), ("texts", "generate"), ("scores", "score")):
        assert last in jobs(snakemake("-n", target))
    assert "page" in jobs(snakemake("-n", "report"))
    assert snakemake("--rulegraph").stdout.count("->") > 10
    snakemake("--lint")
