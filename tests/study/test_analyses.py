import copy
from pathlib import Path

import pytest
import yaml

from lm_steer import LMSteerError
from lm_steer.study.config import resolved

ROOT = Path(__file__).parents[2]
PLAIN = yaml.safe_load((ROOT / "config/analyses.yaml").read_text(encoding="utf-8"))
COMMON = {"prompts": "neutral", "scorers": ["sentiment", "perplexity"]}


def study_with(**analyses) -> dict:
    return resolved({**copy.deepcopy(PLAIN), "analyses": analyses})


def test_a_study_without_the_block_is_as_it_was():
    study = study_with()
    assert list(study.settings) == list(PLAIN["settings"])
    assert list(study.steers) == list(PLAIN["steers"])


def test_a_sweep_is_ordinary_settings_and_a_table():
    sweep = {"steer": "sentiment", "dimension": "sentiment", "held": {"corpus": 1}, "values": [5, -2.5, 0], **COMMON}
    study = study_with(sweeps={"dial": sweep})
    names = ["dial-unsteered", "dial-minus2p5", "dial-0", "dial-5"]
    assert [point["setting"] for point in study.analyses.sweeps["dial"].points] == names
    assert study.settings["dial-minus2p5"].steer == {"sentiment": {"sentiment": -2.5, "corpus": 1}}
    assert study.settings["dial-minus2p5"].against == "dial-unsteered"
    assert list(study.tables["dial"].rows) == ["Unsteered", "sentiment -2.5", "sentiment 0", "sentiment +5"]


def test_a_sweep_of_detox_stands_beside_the_published_one():
    sweep = {"steer": "detox", "dimension": "detox", "values": [1, 8], **COMMON, "scorers": ["toxicity"]}
    table = study_with(sweeps={"dial": sweep}).tables["dial"]
    assert table.published.rows["detox +8"] == "{model} value 8"


def test_a_transfer_is_for_its_target_alone():
    block = {"steer": "sentiment", "source": "smollm2", "target": "rotated", "values": {"sentiment": 5}, "factor": 0.1}
    study = study_with(transfers={"carried": {**block, **COMMON}})
    assert study.models_used == ["smollm2", "rotated"] and study.steered == ["smollm2"]
    assert study.steers["carried-inverse"].transfer.model_dump() == {
        "steer": "sentiment",
        "source": "smollm2",
        "target": "rotated",
        "method": "inverse",
    }
    assert study.settings["carried-inverse"].steer == {"carried-inverse": {"sentiment": 0.5}}
    assert study.settings["carried-trained"].steer == {"sentiment": {"sentiment": 5}}
    made = [setting for name, setting in study.settings.items() if name not in study.written.settings]
    assert all(setting.models == ["rotated"] for setting in made)


def test_an_ablation_changes_one_key_of_the_steer_at_a_time():
    vary = {"rank": [4], "epsilon": [0.01], "corpus": [False], "texts": [30]}
    block = {"steer": "sentiment", "vary": vary, "values": {"sentiment": 5, "corpus": 1}, **COMMON}
    study = study_with(ablations={"one": block})
    base = study.steers["sentiment"]
    for name, key, value in (
        ("one-rank-4", "rank", 4),
        ("one-epsilon-0p01", "epsilon", 0.01),
        ("one-texts-30", "texts", 30),
    ):
        assert study.steers[name] == base.model_copy(update={key: value})
    assert study.steers["one-corpus-0"].dimensions == ["sentiment"]
    assert study.settings["one-corpus-0"].steer == {"one-corpus-0": {"sentiment": 5}}


def test_baselines_stand_beside_the_steer():
    block = {
        "steer": "sentiment",
        "values": {"sentiment": 5},
        "kinds": {"add": {"sentiment": 2}},
        "lora": [0.25, 1],
        "prefix": "Be glad. ",
        "external": {"Theirs": "theirs.jsonl"},
    }
    study = study_with(baselines={"other": {**block, **COMMON}})
    assert study.steers["other-add"].kind == "add"
    assert study.settings["other-prefix"].prefix == "Be glad. "
    assert study.settings["other-lora"].adapter == "other-lora"
    assert study.adapters["other-lora"].labels == [0.25, 1]
    assert study.settings["other-external-1"].generations == "theirs.jsonl"


def test_baselines_without_training_have_neither_a_corpus_dimension_nor_a_loss():
    """As of a steer of the paper's study, whose loss is on padding."""
    steers = {**PLAIN["steers"], "sentiment": {**PLAIN["steers"]["sentiment"], "loss_on_padding": True}}
    block = {"steer": "sentiment", "values": {"sentiment": 5}, "kinds": {"log-odds": {"sentiment": 2}}}
    study = resolved({**PLAIN, "steers": steers, "analyses": {"baselines": {"other": {**block, **COMMON}}}})
    counted = study.steers["other-log-odds"]
    assert (counted.kind, counted.training_free, counted.dimensions) == ("offset", True, ["sentiment"])
    assert study.steers["sentiment"].loss_on_padding and not counted.loss_on_padding


def test_the_main_part_of_the_page_is_without_what_analyses_made():
    study = resolved(PLAIN)
    kept = study.written
    assert list(kept.settings) == list(PLAIN["settings"])
    assert list(kept.tables) == list(PLAIN["tables"])
    assert list(kept.steers) == list(PLAIN["steers"])


def test_names_that_would_meet_are_refused():
    sweep = {"steer": "sentiment", "dimension": "sentiment", "values": [1], **COMMON}
    with pytest.raises(LMSteerError, match=r"tables\.effect has a name that this analysis creates: rename one"):
        study_with(sweeps={"effect": sweep})


SWEEP = {"steer": "sentiment", "dimension": "sentiment", "values": [1], **COMMON}
EXTERNAL = {"steer": "sentiment", "values": {"sentiment": 5}, **COMMON}


def test_large_numbers_keep_their_digits_in_names():
    study = study_with(sweeps={"dial": {**SWEEP, "values": [1000000, 1000001]}})
    assert {"dial-1e06", "dial-1000001"} <= study.settings.keys()
    assert list(study.tables["dial"].rows)[1:] == ["sentiment +1e+06", "sentiment +1000001"]


def test_two_analyses_that_make_one_name_are_refused():
    axes = {
        "sentiment": {"dimension": "sentiment", "values": [0, 2]},
        "detox": {"dimension": "detox", "values": [0, 5]},
    }
    blocks = {"sweeps": {"c-2": {**SWEEP, "values": [5]}}, "compositions": {"c": {"steers": axes, **COMMON}}}
    with pytest.raises(LMSteerError, match=r"settings\.c-2-5 of analyses\.sweeps\.c-2 has a name that this analysis"):
        study_with(**blocks)


@pytest.mark.parametrize(
    ("kind", "block", "message"),
    [
        ("sweeps", {**SWEEP, "held": {"sentiment": 3}}, "held: 'sentiment' is the dimension that varies"),
        ("sweeps", {**SWEEP, "values": [float("inf")]}, "expected a number from"),
        ("baselines", {**EXTERNAL, "external": {"LM-Steer": "a.jsonl"}}, "two rows have the label 'LM-Steer'"),
        ("baselines", {**EXTERNAL, "external": {"": "a.jsonl"}}, "expected one line of text, found ''"),
        ("baselines", {**EXTERNAL, "kinds": {"log-odds": {"corpus": 1}}}, "'corpus' is learned only by training"),
        ("baselines", {**EXTERNAL, "lora": [1, -1]}, "expected the lowest and the highest label"),
        ("baselines", {**EXTERNAL, "kinds": {"add": {"sentimant": 1}}}, "no dimension 'sentimant'"),
        ("ablations", {**EXTERNAL, "vary": {"rank": [0]}}, "expected a whole number from 1"),
        (
            "evidence",
            {"steer": "sentiment", "dimension": "sentiment", "value": 0, "texts": ["a b"]},
            "0 is the unsteered model",
        ),
    ],
)
def test_an_analysis_that_would_not_mean_what_it_says_is_refused(kind, block, message):
    with pytest.raises(LMSteerError, match=message):
        study_with(**{kind: {"one": block}})


def test_an_ablation_of_a_dimension_that_is_not_there_is_refused():
    study = copy.deepcopy(PLAIN)
    study["steers"]["bare"] = {"dataset": study["steers"]["sentiment"]["dataset"], "dimensions": ["tone"]}
    block = {"steer": "bare", "vary": {"corpus": [False]}, "values": {"tone": 5}, **COMMON}
    with pytest.raises(LMSteerError, match="has no dimension 'corpus' to train without"):
        resolved({**study, "analyses": {"ablations": {"one": block}}})


def test_the_papers_analyses_fit_the_papers_study():
    paper, more = (
        yaml.safe_load((ROOT / f"config/{name}.yaml").read_text(encoding="utf-8"))
        for name in ("paper", "paper-analyses")
    )
    study = resolved({**paper, **more, "steered": ["gpt2-large"]})
    assert study.tables["detox-ablation"].published.rows["texts 300"] == {"gpt2-large": "300 texts"}
    assert study.tables["detox-sweep"].published.table == "value sweep"
