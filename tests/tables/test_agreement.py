import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from lm_steer import LMSteerError
from lm_steer.tables.agreement import figures, read_scored, write_agreement
from lm_steer.util.files import write_jsonl

RUDE = [" you stupid idiot", " I hate you, fool", " what a lovely day", " the film is long", " go away, you idiot"]
PERSPECTIVE = [0.95, 0.8, 0.02, 0.1, None]


@pytest.fixture
def texts(tmp_path) -> str:
    rows = [
        {"filename": "a", "prompt": {"text": "He said", "toxicity": 0.99}, "continuation": {"text": t, "toxicity": s}}
        for t, s in zip(RUDE, PERSPECTIVE, strict=True)
    ]
    write_jsonl(tmp_path / "rtp.jsonl", rows)
    return str(tmp_path / "rtp.jsonl")


def values(scores, reference) -> dict[str, float]:
    return {row["metric"]: row["value"] for row in figures(np.array([scores, reference]).T)}


def test_the_figures_are_those_computed_by_hand(few_draws):
    found = values([0.1, 0.4, 0.3, 0.6], [0.2, 0.1, 0.7, 0.9])
    # Ranks 1 3 2 4 against 2 1 3 4; of the pairs toxic-other, .3 loses to .4 alone.
    assert found == {
        "spearman": pytest.approx(1 - 6 * (1 + 4 + 1 + 0) / (4 * 15)),
        "auc": 0.75,
        "base_rate": 0.25,
        "reference_rate": 0.5,
        "threshold": 0.4,
    }


def test_the_figures_equal_those_of_other_packages_with_ties(few_draws):
    draw = np.random.default_rng(0)
    reference = draw.random(300).round(1)
    scores = (reference + draw.random(300)).round(1) / 2
    found = values(scores, reference)
    assert found["spearman"] == pytest.approx(spearmanr(scores, reference).statistic)
    assert found["auc"] == pytest.approx(roc_auc_score(reference >= 0.5, scores))


def test_as_many_texts_reach_the_threshold_as_perspective_calls_toxic(few_draws):
    draw = np.random.default_rng(1)
    scores, reference = draw.random(200) / 3, draw.random(200)
    found = values(scores, reference)
    assert found["base_rate"] == 0
    assert (scores >= found["threshold"]).mean() == found["reference_rate"] == (reference >= 0.5).mean()


def test_a_figure_that_the_texts_do_not_give_is_no_number(few_draws):
    found = values([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    assert math.isnan(found["auc"]) and math.isnan(found["threshold"]) and found["spearman"] == pytest.approx(1)
    assert math.isnan(values([0.1, 0.1], [0.1, 0.9])["spearman"])


def test_an_interval_holds_its_value_and_narrows_with_the_texts():
    draw = np.random.default_rng(2)
    widths = []
    for count in (50, 800):
        both = draw.random((count, 2))
        both[:, 0] += both[:, 1]
        (row,) = (row for row in figures(both) if row["metric"] == "spearman")
        assert row["low"] < row["value"] < row["high"]
        widths.append(row["high"] - row["low"])
    assert widths[1] < widths[0] / 2


def test_a_local_scorer_is_held_against_perspectives_scores_of_continuations(texts, tmp_path, few_draws):
    scorers = {"local": {"kind": "profanity-check"}}
    write_agreement([texts], scorers, tmp_path / "agreement.csv", tmp_path / "cache", tmp_path / "pairs.parquet")
    frame = pd.read_csv(tmp_path / "agreement.csv").set_index("metric")
    assert frame.loc["auc", "value"] == 1
    assert frame.loc["reference_rate", "value"] == 0.5
    assert set(frame["n"]) == {4} and set(frame["left_out"]) == {1}
    assert set(frame["scorer"]) == {"local"} and set(frame["judge"]) == {"profanity-check"}
    pairs = pd.read_parquet(tmp_path / "pairs.parquet")
    assert pairs["reference"].tolist() == PERSPECTIVE[:4]
    assert pairs["local"].iloc[0] > 0.9 > 0.1 > pairs["local"].iloc[2]


GOOD = {"prompt": {"text": "a", "toxicity": 0.1}, "continuation": {"text": "b", "toxicity": 0.2}}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a"}, "line 2: the key 'prompt' is missing"),
        ({**GOOD, "continuation": {"toxicity": 0.5}}, "line 2, continuation: the key 'text' is missing"),
        (
            {**GOOD, "continuation": {"text": "b", "toxicity": 1.5}},
            r"line 2: expected continuation.toxicity from 0 to 1, found 1.5",
        ),
        ({**GOOD, "continuation": {"text": "b", "toxicity": "high"}}, r"continuation.toxicity .* 'high'"),
        ({**GOOD, "continuation": {"text": "b", "toxicity": None}}, "at least 2 texts with a toxicity score, found 1"),
    ],
)
def test_a_bad_file_is_named(tmp_path, row, message):
    write_jsonl(tmp_path / "rtp.jsonl", [GOOD, row])
    with pytest.raises(LMSteerError, match=message):
        read_scored([str(tmp_path / "rtp.jsonl")])
