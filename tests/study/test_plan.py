"""What each rule is given, in milliseconds: its inputs, the options of its command, and what it re-runs for."""

import copy
from functools import partial
from pathlib import Path

import pytest
import yaml

from lm_steer import LMSteerError
from lm_steer.study import plan, targets
from lm_steer.study.config import resolved

ROOT = Path(__file__).parents[2]
EMBEDDED = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
STUDY = resolved(EMBEDDED)
WITH_ANALYSES = resolved(yaml.safe_load((ROOT / "config/analyses.yaml").read_text(encoding="utf-8")))
STEER = "results/steers/smollm2/sentiment/seed0"


def changed(**sections: dict):
    """The embedded study with keys of named blocks changed."""
    config = copy.deepcopy(EMBEDDED)
    for section, blocks in sections.items():
        for name, keys in blocks.items():
            config[section].setdefault(name, {}).update(keys)
    return resolved(config)


def test_a_training_is_its_texts_and_its_recipe():
    given = plan.train(STUDY, "smollm2", "sentiment")
    texts = [f"results/data/snippets/{split}.parquet" for split in ("train", "dev")]
    assert given.inputs == ["results/models/smollm2", *texts]
    options = dict(zip(given.options[::2], given.options[1::2], strict=True))
    assert options["--dimensions"] == "sentiment,corpus" and options["--rank"] == "256" and options["--dtype"] == "auto"
    assert "--count" not in options and "--label-scale" not in options
    few = plan.train(changed(steers={"sentiment": {"texts": 30, "loss_on_padding": True}}), "smollm2", "sentiment")
    assert few.options[-3:] == ["--loss-on-padding", "--count", "30"]


def test_generations_know_prompts_steers_and_values():
    given = plan.generate(STUDY, "smollm2", "0", setting="positive-on-neutral")
    files = [f"{STEER}/{name}" for name in ("steer.safetensors", "steer_config.json")]
    assert given.inputs == ["results/models/smollm2", "results/prompts/neutral.jsonl", *files]
    (job,) = given.part
    assert job["output"] == "results/generations/smollm2/seed0/positive-on-neutral.jsonl"
    assert job["steers"] == {STEER: {"sentiment": 5, "corpus": 1}} and job["sampling"]["samples"] == 5
    shard = plan.generate(STUDY, "smollm2", "0", scatteritem="2-of-4").part
    assert [job["output"].split("/")[:3] for job in shard] == [["results", "shards", "2-of-4"]] * len(STUDY.settings)


def test_a_model_of_vllm_generates_and_judges_there_and_is_trained_here():
    engine = {"kind": "vllm", "python": ".vllm/bin/python", "options": {"tensor_parallel_size": 4}}
    study = changed(models={"smollm2": {"engine": engine}})
    options = ["--vllm", ".vllm/bin/python", "--vllm-options", '{"tensor_parallel_size": 4}']
    assert plan.generate(study, "smollm2", "0").options[-4:] == options
    judged = plan.score(study, "smollm2", "perplexity").options
    assert judged[judged.index("--vllm") :][:4] == options
    assert "--vllm" not in plan.train(study, "smollm2", "sentiment").options
    assert "--vllm" not in plan.score(study, "smollm2", "toxicity").options


def test_an_edited_key_changes_what_depends_on_it_alone():
    edited = changed(settings={"positive-on-neutral": {"steer": {"sentiment": {"sentiment": 4}}}})

    def parts(study):
        return {
            "training": plan.train(study, "smollm2", "sentiment"),
            "positive": plan.generate(study, "smollm2", "0", "positive-on-neutral"),
            "negative": plan.generate(study, "smollm2", "0", "negative-on-neutral"),
            "its table": plan.table(study, "sentiment-positive"),
            "another table": plan.table(study, "detoxification"),
            "an analysis": plan.effects(study, "detox-dial"),
        }

    before, after = parts(STUDY), parts(edited)
    assert {name for name in before if before[name] != after[name]} == {"positive", "its table"}


def test_further_seeds_are_further_trainings_of_what_tables_show():
    study = resolved(copy.deepcopy(EMBEDDED) | {"seeds": [0, 1, 2]})
    assert study.seeds_of("positive-on-neutral") == [0, 1, 2] == study.seeds_of_steer("sentiment")
    assert study.seeds_of("unsteered-on-neutral") == study.seeds_of("sentiment-dial-5") == [0]
    made = {seed: len(plan.generate(study, "smollm2", seed).part) for seed in ("0", "1", "2")}
    assert made["0"] > made["1"] == made["2"] == sum("steer" in setting for setting in EMBEDDED["settings"].values())
    files = targets.text_files(study)
    assert len(files) == len(set(files)) == sum(made.values())


def test_a_setting_may_be_named_like_a_steer_and_one_at_zero_is_not_steered():
    asked = {"prompts": "neutral", "scorers": ["sentiment"]}
    settings = {
        "sentiment": {**asked, "generations": "theirs.jsonl"},
        "zero": {**asked, "steer": {"sentiment": {"sentiment": 0}}},
    }
    study = resolved({**copy.deepcopy(EMBEDDED), "seeds": [1, 2], "settings": EMBEDDED["settings"] | settings})
    trained = [file for file in targets.trained_files(study) if file.endswith("smollm2/sentiment/seed1/training.jsonl")]
    assert len(trained) == 1 and study.seeds_of_steer("sentiment") == [1, 2]
    assert study.seeds_of("sentiment") == [0] and study.seeds_of("zero") == [1]


def test_a_scorer_reads_its_own_settings_and_its_resource():
    given = plan.score(STUDY, "smollm2", "sentiment")
    assert all("neutral" in path or "tive" in path or "dial" in path for path in given.inputs[:-1])
    assert given.inputs[-1] == "results/judges/sentiment"
    assert given.options[:2] == ["--kind", "bag-of-words"] and "--shard" not in given.options
    assert plan.score(STUDY, "smollm2", "perplexity", "1-of-2").options[-2:] == ["--shard", "1-of-2"]


def test_files_of_a_task_of_ones_own_are_inputs(tmp_path):
    scorer = {"kind": "lm-eval", "task": "which", "include": str(tmp_path)}
    settings = {"asked": {"prompts": "neutral", "scorers": ["which"]}}
    given = partial(plan.side_effects, changed(scorers={"which": scorer}, settings=settings), "smollm2", "which")
    assert given().inputs == ["results/models/smollm2", str(tmp_path)]
    for name in ("which.yaml", "lib/words.py", "lib/__pycache__/words.pyc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert given().inputs[1:] == [str(tmp_path / "lib/words.py"), str(tmp_path / "which.yaml")]
    assert given().options[-2:] == ["--include", str(tmp_path)]


def test_a_judge_has_seen_no_training_text_and_no_prompt():
    given = plan.judge(STUDY, "sentiment")
    assert given.inputs[0] == "results/data/snippets/dev.parquet"
    assert set(given.inputs[1:]) >= {"results/data/weak-toxicity/train.parquet", "results/prompts/toxic.jsonl"}


@pytest.mark.parametrize(
    ("block", "inputs", "options"),
    [
        ({"source": "sst5", "path": "mine"}, [f"mine/{split}.jsonl" for split in targets.SPLITS], ["--path", "mine"]),
        ({"source": "sst5"}, [], ["--source", "sst5"]),
        ({"source": "jigsaw", "origin": "hub"}, [], ["--origin", "hub", "--seed", "0"]),
        ({"source": "jigsaw", "origin": "a.csv"}, ["a.csv"], ["--origin", "a.csv"]),
        ({"source": "file", "path": "b.csv"}, ["b.csv"], ["--path", "b.csv"]),
    ],
)
def test_files_of_the_user_are_inputs(block, inputs, options):
    given = plan.dataset(changed(datasets={"mine": block}), "mine")
    assert given.inputs == inputs and " ".join(options) in " ".join(given.options)


def test_a_transferred_steer_is_made_of_that_of_its_source():
    (name,) = [steer for steer in targets.steers(WITH_ANALYSES, carried_over=True) if steer.endswith("inverse")]
    given = plan.transfer(WITH_ANALYSES, name, "0")
    assert given.options[:2] == ["--steer", STEER] and given.options[-2:] == ["--method", "inverse"]
    assert name not in targets.steers(WITH_ANALYSES)


def test_every_file_of_the_page_is_made_once_and_named_once():
    for study in (STUDY, WITH_ANALYSES):
        files = targets.page_files(study)
        assert len(files) == len(set(files)) and set(targets.table_files(study)) <= set(files)
        settings = {path.split("/")[-1].removesuffix(".jsonl") for path in targets.text_files(study)}
        assert settings == set(study.settings)


def test_a_name_that_the_study_lacks_is_refused(tmp_path):
    STUDY.write(tmp_path / "study.json")
    assert plan.of_file(tmp_path / "study.json", plan.table, table="detoxification") == plan.table(
        STUDY, "detoxification"
    )
    with pytest.raises(LMSteerError, match=r"no table 'detox'.*; there are detoxification"):
        plan.of_file(tmp_path / "study.json", plan.table, table="detox")
    with pytest.raises(LMSteerError, match="no analysis 'reviews'"):
        plan.of_file(tmp_path / "study.json", plan.effects, analysis="reviews")
    texts = plan.of_file(tmp_path / "study.json", plan.evidence_texts, analysis="reviews").part
    assert texts == plan.evidence(STUDY, "smollm2", "reviews").part and len(texts) == 3
