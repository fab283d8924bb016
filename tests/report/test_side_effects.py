"""What steers do to given texts stands in the table of what they do to generations."""

import numpy as np
import pandas as pd
import pytest

from lm_steer import LMSteerError
from lm_steer.data import layout
from lm_steer.report.page import write_page
from lm_steer.study import plan

TEXTS = 20
SCORERS = {"films": {"kind": "held-out", "dataset": "mine", "texts": TEXTS}}
BOTH = {name: {"scorers": ["sentiment", "perplexity", "films"]} for name in ("plain-neutral", "glad-neutral")}


def test_side_effects_are_columns_with_paired_differences(study_of, make_results, tmp_path):
    study, results = study_of(scorers=SCORERS, settings=BOTH), tmp_path / "results"
    planned = plan.side_effects(study, "tiny", "films")
    assert [one["steers"] for one in planned.part] == [{}, {"results/steers/tiny/mood/seed0": {"mood": -5}}]
    assert "results/data/mine/test.parquet" in planned.inputs

    def score() -> None:
        rng, frames = np.random.default_rng(0), []
        nll = rng.uniform(40, 80, TEXTS)
        for name, factor in (("plain-neutral", 1.0), ("glad-neutral", 1.1)):
            file = str(layout.generations(results, "tiny", 0, name))
            frames.append(pd.DataFrame({"file": file, "prompt": range(TEXTS), "sample": 0, "nll": factor * nll}))
        frame = pd.concat(frames).assign(tokens=20.0, scorer="held-out", version="mine, 20 texts")
        frame.to_parquet(results / "scores/tiny/films.parquet")

    make_results(study, results, score)
    frame = pd.read_csv(results / "tables/mood.csv").set_index(["row", "metric"])
    glad = frame.loc[("Glad", "loss_on_mine")]
    assert (glad["n_prompts"], glad["n_generations"]) == (TEXTS, TEXTS)
    assert 0 < glad["difference_low"] < glad["difference"] < glad["difference_high"]
    # Paired: what all texts have in common is no part of the interval.
    assert glad["difference_high"] - glad["difference_low"] < (glad["high"] - glad["low"]) / 2
    write_page(study, results, tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "glad-neutral-loss_on_mine" in page and "mine, 20 texts" in page


@pytest.mark.parametrize(
    ("films", "message"),
    [
        ({"prompts": 5}, r"films.prompts: the kind held-out scores no generations"),
        ({"dataset": "yours"}, r"films.dataset: .*'yours'"),
        ({"kind": "lm-eval", "dataset": None, "texts": None, "task": "a, b"}, r"films.task: .*found 'a, b'"),
    ],
)
def test_a_key_that_makes_no_sense_is_named(study_of, films, message):
    block = {key: value for key, value in {**SCORERS["films"], **films}.items() if value is not None}
    with pytest.raises(LMSteerError, match=message):
        study_of(scorers={"films": block}, settings=BOTH)


def test_what_is_no_steer_cannot_be_measured(study_of):
    settings = {**BOTH, "glad-neutral": {**BOTH["glad-neutral"], "prefix": "Good news:"}}
    with pytest.raises(LMSteerError, match=r"glad-neutral.scorers: 'films' measures what steers do to given texts"):
        study_of(scorers=SCORERS, settings=settings)


def test_baselines_that_are_no_steer_go_without(study_of):
    block = {"steer": "mood", "values": {"mood": 5}, "prompts": "neutral", "scorers": ["sentiment", "films"]}
    study = study_of(scorers=SCORERS, analyses={"baselines": {"others": {**block, "prefix": "Good news:"}}})
    assert study.settings["others-steer"].scorers == ["sentiment", "films"]
    assert study.settings["others-prefix"].scorers == ["sentiment"]
