"""Every analysis in miniature, through the real workflow: what is made, and that it stands on the page."""

import json
from pathlib import Path

import pandas as pd
import pytest
from miniature import study_of

STUDY = ["--configfile", "config/config.yaml", "config/analyses.yaml"]
ANALYSES = study_of(None, "analyses")["analyses"]


def theirs(project: Path) -> None:
    """Generations made elsewhere, on the prompts of the study."""
    rows = [json.loads(line) for line in (project / "results/prompts/few.jsonl").read_text().splitlines()]
    texts = [{**row, "generations": [{"text": " the end"}, {"text": " a joy"}]} for row in rows]
    (project / "theirs.jsonl").write_text("\n".join(map(json.dumps, texts)), encoding="utf-8")


def test_every_analysis_is_made_and_stands_on_the_page(finished, snakemake):
    theirs(finished)
    snakemake(*STUDY)
    folder = finished / "results/analyses"

    def figures(name: str) -> pd.DataFrame:
        return pd.read_csv(folder / f"{name}.csv").set_index("figure")

    assert "breaks_above" in figures("dial").index
    assert "additivity" in figures("pair").index
    carried = figures("carried")
    assert set(carried.index) >= {"none", "trained", "least-squares", "inverse", "recovered"}
    matters = figures("matters")
    assert set(matters.loc["range", "point"]) == {"rank", "texts", "corpus"} and (matters["value"] >= 0).all()
    words = pd.read_csv(folder / "tiny/words.words.csv")
    assert set(words["direction"]) == {1, 2} and set(words["end"]) == {"raised", "lowered"}
    readings = pd.read_csv(folder / "tiny/shown.readings.csv")
    assert readings.groupby("text")["precision"].first().notna().tolist() == [True, False]
    price = pd.read_csv(folder / "tiny/price.cost.csv").set_index("figure")["value"]
    assert price["parameters_a_dimension"] == 2 * 32 * 4
    others = pd.read_csv(finished / "results/tables/others.csv")
    assert len(set(others["row"])) == 8
    elsewhere = others[others["row"] == "Theirs"].set_index("metric")
    assert set(elsewhere["model"]) == {"external"} and elsewhere.loc["dist_1", "n_generations"] == 4
    # Texts from elsewhere are scored by the same scorers in the same run.
    assert others.groupby("metric")["version"].nunique().max() == 1

    page = (finished / "reports/index.html").read_text(encoding="utf-8")
    for kinds in ANALYSES.values():
        for name in kinds:
            assert f": {name}" in page, name
    assert list((finished / "results/figures").glob("values-*.svg"))
    assert "Nothing to be done" in snakemake(*STUDY).stdout
    # A value more costs the sweep, and no training.
    again = snakemake("-n", *STUDY, "--config", "analyses={sweeps: {dial: {values: [-2.5, 0, 5, 7]}}}").stdout
    assert "rule effects:" in again and "rule train:" not in again and "rule lora:" not in again


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ({"sweeps": {"dial": {"values": []}}}, "sweeps.dial.values: expected at least 1 item"),
        ({"sweeps": {"dial": {"dimension": "tone"}}}, "sweeps.dial: the steer 'style' has no dimension 'tone'"),
        ({"sweeps": {"dial": {"steer": "stile"}}}, "analyses.sweeps.dial.steer: there is no steer 'stile'"),
        ({"sweeps": {"dial": {"scorers": ["taste"]}}}, "analyses.sweeps.dial.scorers: there is no scorer 'taste'"),
        ({"transfers": {"carried": {"target": "tiny"}}}, "transfers.carried: source and target are the same model"),
        ({"compositions": {"pair": {"steers": {"tone": {"values": [4]}}}}}, "0 is missing, from which additivity"),
        ({"evidence": {"shown": {"texts": ["One text"]}}}, "give either the key 'texts' or the key 'path'"),
        ({"ablations": {"matters": {"vary": {"ranks": [2]}}}}, "ablations.matters.vary: unknown key 'ranks'"),
        (
            {"costs": {"dial": {"steer": "style", "values": {"style": 1}}}},
            "those of analyses.sweeps.dial: rename",
        ),
    ],
)
def test_a_wrong_block_is_named(refusal, blocks, message):
    assert message in refusal({"analyses": blocks}, "analyses")
