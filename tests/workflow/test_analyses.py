"""Every analysis in miniature, through the real workflow: what is made, and that it stands on the page."""

import json

import pandas as pd
import pytest
import yaml

COMMON = {"prompts": "few", "scorers": ["toxicity", "perplexity"]}
VALUES = {"style": 5, "corpus": 1}
ANALYSES = {
    "sweeps": {
        "dial": {"steer": "style", "dimension": "style", "values": [-2.5, 0, 5], "held": {"corpus": 1}, **COMMON}
    },
    "compositions": {
        "pair": {
            "steers": {name: {"dimension": name, "values": [0, 4]} for name in ("style", "tone")},
            **COMMON,
        }
    },
    "transfers": {"carried": {"steer": "style", "source": "tiny", "target": "turned", "values": VALUES, **COMMON}},
    "directions": {"words": {"steer": "style", "dimension": "style", "scorer": "toxicity", "count": 2}},
    "evidence": {
        "shown": {"steer": "style", "dimension": "style", "value": 5, "path": "marked.jsonl"},
        "told": {"steer": "style", "dimension": "style", "value": 5, "texts": ["It's a {joy}", "The film\nis dull"]},
    },
    "ablations": {
        "matters": {
            "steer": "style",
            "vary": {"rank": [2], "texts": [8], "corpus": [False]},
            "values": VALUES,
            **COMMON,
        }
    },
    "baselines": {
        "others": {
            "steer": "style",
            "values": VALUES,
            "kinds": {"add": VALUES, "offset": VALUES},
            "lora": [0.5, 1],
            "prefix": "Mind this. ",
            "external": {"Theirs": "theirs.jsonl"},
            **COMMON,
        }
    },
    "costs": {"price": {"steer": "style", "values": VALUES}},
}


def with_analyses(project):
    """Give the miniature study a second steer, a rotated copy of its model, and every analysis."""
    path = project / "config/config.yaml"
    study = yaml.safe_load(path.read_text(encoding="utf-8"))
    study["models"]["turned"] = {"source": "rotated", "id": "tiny"}
    study["steered"] = ["tiny"]
    study["steers"]["tone"] = {**study["steers"]["style"], "dimensions": ["tone", "corpus"]}
    study["analyses"] = ANALYSES
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    marked = [{"text": "The movie was a joy to watch", "spans": [[12, 19]]}, {"text": "The film is dull"}]
    (project / "marked.jsonl").write_text("\n".join(map(json.dumps, marked)), encoding="utf-8")
    return project


def theirs(project) -> None:
    """Generations made elsewhere, on the prompts of the study."""
    rows = [json.loads(line) for line in (project / "results/prompts/few.jsonl").read_text().splitlines()]
    made = [{**row, "generations": [{"text": " the end"}, {"text": " a joy"}]} for row in rows]
    (project / "theirs.jsonl").write_text("\n".join(map(json.dumps, made)), encoding="utf-8")


def test_every_analysis_is_made_and_stands_on_the_page(finished, snakemake):
    study = with_analyses(finished)
    theirs(study)
    snakemake()
    folder = study / "results/analyses"

    def figures(name: str) -> pd.DataFrame:
        return pd.read_csv(folder / f"{name}.csv").set_index("figure")

    assert "breaks_above" in figures("dial").index
    assert figures("pair").loc["exactness", "value"] < 1e-6
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
    others = pd.read_csv(study / "results/tables/others.csv")
    assert others.groupby("row")["model"].first()["Theirs"] == "external"
    assert len(set(others["row"])) == 7

    page = (study / "reports/index.html").read_text(encoding="utf-8")
    for kinds in ANALYSES.values():
        for name in kinds:
            assert f": {name}" in page, name
    assert list((study / "results/figures").glob("analysis-*-dial-*.svg"))
    assert "Nothing to be done" in snakemake().stdout
    # A value more costs the sweep, and no training.
    again = snakemake("-n", "--config", "analyses={sweeps: {dial: {values: [-2.5, 0, 5, 7]}}}").stdout
    assert "rule effects:" in again and "rule train:" not in again and "rule lora:" not in again


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ({"sweeps": {"dial": {"values": []}}}, "sweeps.dial.values: expected at least 1 item"),
        ({"sweeps": {"dial": {"dimension": "tone"}}}, "sweeps.dial: the steer 'style' has no dimension 'tone'"),
        ({"sweeps": {"dial": {"steer": "stile"}}}, "analyses.sweeps.dial: there is no steer 'stile'"),
        ({"sweeps": {"dial": {"scorers": ["taste"]}}}, "analyses.sweeps.dial: there is no scorer 'taste'"),
        ({"transfers": {"carried": {"target": "tiny"}}}, "transfers.carried: source and target are one model"),
        ({"compositions": {"pair": {"steers": {"tone": {"values": [4]}}}}}, "0 is missing, which additivity"),
        ({"evidence": {"shown": {"texts": ["One text"]}}}, "give either the key 'texts' or the key 'path'"),
        ({"ablations": {"matters": {"vary": {"ranks": [2]}}}}, "ablations.matters.vary: unknown key 'ranks'"),
        (
            {"costs": {"dial": {"steer": "style", "values": {"style": 1}}}},
            "those of analyses.costs.dial do: rename",
        ),
    ],
)
def test_a_wrong_block_is_named(project, refusal, blocks, message):
    with_analyses(project)
    assert message in refusal({"analyses": blocks})
