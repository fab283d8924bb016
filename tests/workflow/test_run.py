"""The workflow from end to end on a study in miniature: what runs, what runs again, and what does not."""

import json
import re
import zipfile
from pathlib import Path

import pandas as pd
import yaml

from lm_steer.study import plan
from lm_steer.study.config import read_study


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


SCORING = {"score", "score_by_model", "gather_scores"}
GENERATING = {"generate", "gather", *SCORING, "table", *REPORT}


def test_a_study_is_planned_whole_or_to_a_target(project, snakemake):
    assert jobs(snakemake("-n")) == {"model", "dataset", "prompts", "train", *GENERATING}
    for target, last in (("data", "prompts"), ("steers", "train"), ("texts", "generate"), ("scores", "score")):
        assert last in jobs(snakemake("-n", target))
    assert "page" in jobs(snakemake("-n", "report"))


def test_a_study_runs_once_and_again_only_where_it_was_edited(finished, snakemake):
    assert (finished / "reports/index.html").exists()
    content = tables(finished)
    assert b"perplexity" in content and b"avg_max_toxicity" in content
    record = json.loads((finished / "results/run.json").read_text(encoding="utf-8"))
    assert {step["rule"] for step in record["steps"]} >= {"train", "generate", "score", "table"}
    assert record["inputs"]["texts.jsonl"] and record["study"]["settings"]["styled"]["against"] == "plain"
    assert "Nothing to be done" in snakemake().stdout

    steps = snakemake("-n", "--config", "steers={style: {steps: 7}}")
    assert jobs(steps) == {"train", *GENERATING}
    title = snakemake("-n", "--config", "title=Another")
    assert jobs(title) == set(REPORT)
    value = snakemake("-n", "--config", "settings={styled: {steer: {style: {style: 4}}}}")
    assert jobs(value) == GENERATING

    edit(finished / "lm_steer/tables/intervals.py", "DRAWS = 1000", "DRAWS = 999")
    assert jobs(snakemake("-n")) == {"table", *REPORT}
    edit(finished / "lm_steer/tables/intervals.py", "DRAWS = 999", "DRAWS = 1000")
    edit(finished / "lm_steer/training/learn.py", "EVERY = 25", "EVERY = 26")
    assert jobs(snakemake("-n")) == {"train", *GENERATING}


def test_an_edited_comment_plans_no_job(finished, snakemake):
    for path in (finished / "lm_steer").rglob("*.py"):
        path.write_text(path.read_text(encoding="utf-8") + "\n# A remark.\n", encoding="utf-8")
    assert "Nothing to be done" in snakemake("-n").stdout


def test_snakemakes_own_report_and_rulegraph_ask_for_no_cores(finished, snakemake):
    snakemake("--report", "reports/report.zip", cores=False)
    with zipfile.ZipFile(finished / "reports/report.zip") as archive:
        names = {Path(name).name for name in archive.namelist()}
    assert {"effect.csv", "index.html", "effects-tiny-avg_max_toxicity.svg", "loss-tiny-style.svg"} <= names
    assert snakemake("--rulegraph", cores=False).stdout.count("->") > 10


def test_an_edited_value_generates_that_setting_alone(finished, snakemake):
    folder = finished / "results/generations/tiny/seed0"
    plain, styled = ((folder / f"{name}.jsonl").read_bytes() for name in ("plain", "styled"))
    again = snakemake("texts", "--config", "settings={styled: {steer: {style: {style: -90000}}}}")
    assert "generate plain: 2 prompts done" in again.stdout and "(2 from an earlier run)" in again.stdout
    assert (folder / "plain.jsonl").read_bytes() == plain
    assert (folder / "styled.jsonl").read_bytes() != styled


def test_another_run_from_nothing_in_many_shards_makes_the_same_bytes(whole, project, snakemake):
    def made(project: Path) -> dict[str, bytes]:
        folders = ("generations/tiny/seed0", "scores/tiny", "tables")
        found = {path.name: path for folder in folders for path in (project / "results" / folder).iterdir()}
        return {
            name: pd.read_parquet(path).to_csv().encode() if path.suffix == ".parquet" else path.read_bytes()
            for name, path in found.items()
        }

    # Two prompts over three jobs: one has none.
    snakemake("tables", "--config", "shards=3")
    assert made(project) == made(whole)
    assert "perplexity.parquet" in made(project)
    for path in ("generations/tiny/seed0/plain.jsonl", "scores/tiny/perplexity.parquet"):
        assert len(list((project / "results/shards").glob(f"*-of-3/{path}"))) == 3


def test_a_study_on_the_command_line_replaces_the_default_whole(project, snakemake):
    study = yaml.safe_load((project / "config/config.yaml").read_text(encoding="utf-8"))
    study["settings"] = {"only": study["settings"]["plain"]}
    study["tables"] = {"one": {"title": "One", "rows": {"Unsteered": ["only"]}}}
    (project / "other.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    more = """settings: {only: {scorers: [toxicity]}}
scorers: {perplexity: null}
prompts: {few: {source: file, path: own.jsonl}}"""
    (project / "more.yaml").write_text(more, encoding="utf-8")
    (project / "own.jsonl").touch()
    other = snakemake("-n", "texts", "--configfile", "other.yaml").stdout
    assert "only.jsonl" in other and "styled.jsonl" not in other
    merged = snakemake("-n", "scores", "--configfile", "other.yaml", "more.yaml").stdout
    assert "toxicity.parquet" in merged and "perplexity.parquet" not in merged
    seeds = snakemake("-n", "steers", "--configfile", "other.yaml", "--config", "seeds=[3]").stdout
    assert "seed3" in seeds and "seed0" not in seeds


def test_two_models_and_seeds_fill_every_cell(finished, snakemake):
    snakemake("tables", "--config", "models={twin: {source: folder, id: model}}", "seeds=[0, 1]")
    table = (finished / "results/tables/effect.csv").read_text(encoding="utf-8").splitlines()
    cells = {
        name: [line.split(",", 1)[1] for line in table if line.startswith(f"{name},")] for name in ("tiny", "twin")
    }
    # The same weights under another name make the same numbers.
    assert cells["tiny"] == cells["twin"]
    assert sum(line.startswith("Steered") for line in cells["tiny"]) > 3


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
    # The first job finds the study that commands read by name; a dry run writes nothing.
    assert not (project / "results/study.json").exists()
    snakemake("results/prompts/few.jsonl")
    study = read_study(project / "results/study.json")
    assert len(study.analyses.sweeps["many"].points) == 401
    assert plan.evidence(study, "tiny", "long").part == [text]
