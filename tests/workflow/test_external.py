"""Generations of another method: a row beside one's own, scored by the same scorers in the same run."""

import json

import pandas as pd
import yaml


def study_with(project, generations: str) -> None:
    path = project / "config/config.yaml"
    study = yaml.safe_load(path.read_text(encoding="utf-8"))
    block = {"prompts": "few", "scorers": ["toxicity"], "generations": generations}
    study["settings"] = {"plain": {**study["settings"]["plain"], "scorers": ["toxicity"]}, "theirs": block}
    study["tables"] = {"both": {"title": "Both", "rows": {"Unsteered": ["plain"], "Theirs": ["theirs"]}}}
    path.write_text(yaml.safe_dump(study), encoding="utf-8")


def test_a_file_made_elsewhere_becomes_a_row(finished, snakemake):
    project = finished
    study_with(project, "theirs.jsonl")
    texts = [[" you fool", " dear"], [" hello", " fine"]]
    rows = [{"prompt": {"text": str(i)}, "generations": [{"text": t} for t in two]} for i, two in enumerate(texts)]
    (project / "theirs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    snakemake()
    table = pd.read_csv(project / "results/tables/both.csv")
    theirs = table[table["row"] == "Theirs"].set_index("metric")
    assert set(theirs["model"]) == {"external"} and theirs.loc["dist_1", "n_generations"] == 4
    assert set(table[table["metric"] == "avg_max_toxicity"]["version"].map(str)) == {theirs["version"].iloc[0]}
    assert "Theirs" in (project / "reports/index.html").read_text(encoding="utf-8")


def test_a_file_in_another_form_is_named(project, snakemake):
    study_with(project, "theirs.jsonl")
    (project / "theirs.jsonl").write_text('{"prompt": {"text": "a"}, "texts": ["b"]}\n', encoding="utf-8")
    result = snakemake("texts", succeeds=False)
    assert "theirs.jsonl, line 1: the key 'generations' is missing" in result.stdout
    assert "Traceback" not in result.stdout
