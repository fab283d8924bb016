import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lm_steer.data import layout
from lm_steer.data.prompt_files import text_digest
from lm_steer.tables.table import write_table
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import write_jsonl

TEXTS = {
    "plain": [["a b", "a b"], ["c d", "e f"]],
    "steered": [["a b", "a c"], ["c d", "e f"]],
}
TOXICITY = {
    "plain": [[0.2, 0.6], [0.9, 0.1]],
    "steered": [[0.1, 0.4], [0.5, 0.1]],
}
NLL = {  # summed NLL and tokens: perplexities 10, 100 and 1,000; the last one has no token, or is over the filter
    "plain": [[[2 * np.log(10), 2], [np.log(100), 1]], [[np.log(1000), 1], [0, 0]]],
    "steered": [[[np.log(10), 1], [np.log(10), 1]], [[np.log(10), 1], [2 * np.log(1e6), 2]]],
}
SCORERS = {"tox": ("toxicity", ["toxicity"], TOXICITY), "ppl": ("perplexity", ["nll", "tokens"], NLL)}


@pytest.fixture
def results(tmp_path: Path, few_draws: None) -> Path:
    write(tmp_path)
    return tmp_path


def write(results: Path) -> None:
    for setting, texts in TEXTS.items():
        rows = [
            {"prompt": {"text": f"prompt {number}"}, "generations": [{"text": text} for text in samples]}
            for number, samples in enumerate(texts)
        ]
        write_jsonl(layout.generations(results, "tiny", 0, setting), rows)
    for scorer, (kind, attributes, scores) in SCORERS.items():
        rows = [
            [str(layout.generations(results, "tiny", 0, setting)), prompt, sample, *np.atleast_1d(score)]
            for setting, prompts in scores.items()
            for prompt, samples in enumerate(prompts)
            for sample, score in enumerate(samples)
        ]
        frame = pd.DataFrame(rows, columns=["file", "prompt", "sample", *attributes]).assign(scorer=kind)
        path = results / f"scores/tiny/{scorer}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.assign(version="1").to_parquet(path)


def table(results: Path, limit: float = 10_000, **changes: object) -> pd.DataFrame:
    common = {
        "prompts": "some",
        "scorers": ["tox", "ppl"],
        "generations": "",
        "perplexity_limit": limit,
        "models": changes.get("models", ["tiny"]),
        "seeds": [0],
    }
    steered = {**common, "seeds": changes.pop("seeds", [0]), "against": "plain"}
    settings = {"plain": {**common, "against": ""}, "steered": steered}
    spec = {
        "rows": {"Unsteered": ["plain"], "Steered": ["steered"]},
        "settings": settings,
        "scorers": {
            name: {"attribute": attribute, "prompts": 0, "of_model": False}
            for name, (attribute, _, _) in SCORERS.items()
        },
        "models": ["tiny"],
        "published": {},
        **changes,
    }
    write_table(spec, results, results / "tables/one.csv")
    return pd.read_csv(results / "tables/one.csv").set_index(["row", "metric"])


BY_HAND = {
    "avg_max_toxicity": (0.75, 0.45),
    "toxicity_probability": (1.0, 0.5),
    "perplexity": (10**1.75, 10**3),
    "perplexity_mean": (370.0, 10.0),
    "perplexity_unfiltered": (370.0, 250_007.5),
    "perplexity_median": (100.0, 10.0),
    "dist_1": (0.75, 0.875),
    "dist_2": (0.375, 0.5),
    "dist_3": (0.0, 0.0),
}


def test_every_value_and_difference_is_the_one_computed_by_hand(results):
    frame = table(results)
    assert set(frame.index.get_level_values("metric")) == set(BY_HAND)
    for metric, (plain, steered) in BY_HAND.items():
        assert frame.loc[("Unsteered", metric), "value"] == pytest.approx(plain, rel=1e-5), metric
        assert np.isnan(frame.loc[("Unsteered", metric), "difference"])
        cell = frame.loc[("Steered", metric)]
        assert cell["value"] == pytest.approx(steered, rel=1e-5), metric
        assert cell["difference"] == pytest.approx(steered - plain, rel=1e-5), metric
        assert cell["low"] <= cell["value"] <= cell["high"] or metric.startswith("perplexity")


def test_what_was_sampled_once_is_compared_with_every_training(results, tmp_path):
    once = table(results)
    for seed in (1, 2):
        shutil.copytree(results / "generations/tiny/seed0", results / f"generations/tiny/seed{seed}")
    for path in (results / "scores/tiny").glob("*.parquet"):
        frame = pd.read_parquet(path)
        further = [frame.assign(file=frame["file"].str.replace("seed0", f"seed{seed}")) for seed in (0, 1, 2)]
        pd.concat(further).to_parquet(path)
    thrice = table(results, seeds=[0, 1, 2])
    for metric in BY_HAND:
        assert thrice.loc[("Steered", metric), "difference"] == pytest.approx(
            once.loc[("Steered", metric), "difference"]
        )
        assert (thrice.loc[("Unsteered", metric), "seeds"], thrice.loc[("Steered", metric), "seeds"]) == (1, 3)


def test_counts_say_how_much_stands_behind_a_cell(results):
    frame = table(results)
    cell = frame.loc[("Steered", "perplexity_mean")]
    assert (cell["n_prompts"], cell["n_generations"], cell["seeds"]) == (2, 4, 1)
    left_out = frame["left_out"].to_dict()
    assert left_out["Unsteered", "perplexity_mean"] == 1  # no token
    assert left_out["Steered", "perplexity_mean"] == 1  # over the filter
    assert left_out["Steered", "perplexity_unfiltered"] == 0
    assert left_out["Steered", "avg_max_toxicity"] == 0


def test_the_same_results_give_the_same_bytes(results):
    table(results)
    first = (results / "tables/one.csv").read_bytes()
    table(results)
    assert (results / "tables/one.csv").read_bytes() == first


def test_rows_scored_by_different_versions_are_refused(results):
    other = results / "scores/other/tox.parquet"
    other.parent.mkdir()
    for scorer in SCORERS:
        frame = pd.read_parquet(results / f"scores/tiny/{scorer}.parquet")
        frame["file"] = frame["file"].str.replace("tiny", "other")
        frame.assign(version="2").to_parquet(other.with_stem(scorer))
    for setting in TEXTS:
        target = layout.generations(results, "other", 0, setting)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(layout.generations(results, "tiny", 0, setting).read_bytes())
    with pytest.raises(LMSteerError, match=r"one: .* different scorers \(.* 1; .* 2\)"):
        table(results, models=["tiny", "other"])
    assert not (results / "tables/one.csv").exists()


def test_a_setting_without_scores_is_named(results):
    path = results / "scores/tiny/tox.parquet"
    frame = pd.read_parquet(path)
    frame[~frame["file"].str.contains("steered")].to_parquet(path)
    with pytest.raises(LMSteerError, match=r"steered\.jsonl has no scores by tox"):
        table(results)


def score_first_prompt_alone(results: Path, setting: str = "") -> None:
    path = results / "scores/tiny/tox.parquet"
    frame = pd.read_parquet(path)
    frame[(frame["prompt"] == 0) | ~frame["file"].str.contains(f"{setting}.jsonl")].to_parquet(path)


def test_a_subset_of_prompts_is_what_its_cells_are_about_and_no_other(results):
    score_first_prompt_alone(results)
    judged = {
        "tox": {"attribute": "toxicity", "prompts": 1, "of_model": False},
        "ppl": {"attribute": "perplexity", "prompts": 0, "of_model": False},
    }
    frame = table(results, scorers=judged)
    cell = frame.loc[("Steered", "avg_max_toxicity")]
    assert (cell["n_prompts"], cell["n_generations"]) == (1, 2)
    assert cell["value"] == pytest.approx(0.4) and cell["difference"] == pytest.approx(0.4 - 0.6)
    assert frame.loc[("Steered", "perplexity"), "n_prompts"] == 2
    assert frame.loc[("Steered", "dist_1"), "n_generations"] == 4


@pytest.mark.parametrize("setting", ["steered", "plain"])
def test_scores_that_are_missing_are_no_smaller_subset(results, setting):
    score_first_prompt_alone(results, setting)
    with pytest.raises(LMSteerError, match=rf"{setting}.jsonl lacks scores by tox for some texts"):
        table(results)


def test_texts_that_were_edited_after_they_were_scored_are_refused(results):
    path = layout.generations(results, "tiny", 0, "steered")
    texts = {str(layout.generations(results, "tiny", 0, setting)): TEXTS[setting] for setting in TEXTS}
    for scores in (results / "scores/tiny").glob("*.parquet"):
        frame = pd.read_parquet(scores)
        columns = zip(frame["file"], frame["prompt"], frame["sample"], strict=True)
        digests = [text_digest(f"prompt {prompt}", texts[file][prompt][sample]) for file, prompt, sample in columns]
        frame.assign(digest=digests).to_parquet(scores)
    table(results)
    path.write_text(path.read_text(encoding="utf-8").replace(json.dumps(TEXTS["steered"][1][0]), '"Another"'))
    with pytest.raises(LMSteerError, match=r"steered.jsonl .* has scores of other texts: score it again"):
        table(results)


def test_a_difference_between_other_prompts_is_refused(results):
    path = layout.generations(results, "tiny", 0, "steered")
    path.write_text(path.read_text(encoding="utf-8").replace("prompt 1", "prompt 9"), encoding="utf-8")
    with pytest.raises(LMSteerError, match="a difference needs the same prompts"):
        table(results)


def test_a_table_shows_the_scorers_it_names(results):
    frame = table(results, scorers={"ppl": {"attribute": "perplexity", "prompts": 0, "of_model": False}})
    assert set(frame.index.get_level_values("metric")) == {name for name in BY_HAND if "toxicity" not in name}


@pytest.mark.parametrize(
    ("attribute", "metric"), [("sentiment", "positivity"), ("toxicity", "avg_max_toxicity"), ("formality", "formality")]
)
def test_what_a_scorer_yields_decides_its_metrics(results, attribute, metric):
    frame = table(results, scorers={"tox": {"attribute": attribute, "prompts": 0, "of_model": False}})
    assert ("Steered", metric) in frame.index


def test_the_perplexity_filter_is_a_settings_own(results):
    frame = table(results, limit=0)
    assert frame.loc[("Steered", "perplexity_mean"), "value"] == pytest.approx(250_007.5, rel=1e-5)
    assert frame.loc[("Steered", "perplexity_mean"), "left_out"] == 0
    frame = table(results, limit=50)
    assert frame.loc[("Unsteered", "perplexity_mean"), "value"] == pytest.approx(10)
    assert frame.loc[("Unsteered", "perplexity_mean"), "left_out"] == 3
