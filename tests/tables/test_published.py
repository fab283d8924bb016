import math

import pytest
import yaml
from running import ROOT

from lm_steer.tables.published import JUDGES, beside, problems

XL = f"{JUDGES['perplexity_mean'][1]} 0123abcd"
SST2 = f"{JUDGES['positivity'][1]} POSITIVE softmax 0123abcd"

SPEC = {
    "table": "detoxification",
    "rows": {"LM-Steer": "LM-Steer {model}", "Copied": "DAPT"},
    "metrics": {
        "non-toxic": {"avg_max_toxicity": "avg_max_toxicity", "perplexity_mean": "perplexity", "dist_1": "dist_1"}
    },
}


def cell(metric: str, low: float, high: float, **changes: str) -> dict:
    own = {
        "model": "gpt2-large",
        "row": "LM-Steer",
        "prompts": "non-toxic",
        "scorer": "causal-lm",
        "version": XL,
    }
    return {**own, "metric": metric, "value": (low + high) / 2, "low": low, "high": high, **changes}


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        (cell("perplexity_mean", 27, 29), "reproduced"),
        (cell("perplexity_mean", 29, 31), "differs"),
        (cell("perplexity_mean", 27, 29, version="openai-community/gpt2-large 0123abcd"), "not comparable"),
        # A folder that the user calls so, another commit, and another kind of scorer.
        (cell("perplexity_mean", 27, 29, version="gpt2-xl 0123abcd"), "not comparable"),
        (cell("perplexity_mean", 27, 29, version="openai-community/gpt2-xl@main 0123abcd"), "not comparable"),
        (cell("perplexity_mean", 27, 29, scorer="mine:Judge"), "not comparable"),
        (cell("perplexity_mean", math.nan, math.nan), "not comparable"),
        # Published as 28.26, which may be 28.264, and .55.
        (cell("perplexity_mean", 28.264, 29), "reproduced"),
        (cell("perplexity_mean", 28.266, 29), "differs"),
        (cell("dist_1", 0.5512, 0.553, scorer="dist-n", version="1"), "reproduced"),
        (cell("perplexity_mean", 27, 29, row="Copied"), "not comparable"),
        (cell("dist_1", 0.54, 0.56, scorer="dist-n", version="1"), "reproduced"),
        (cell("avg_max_toxicity", 0.24, 0.25, scorer="profanity-check", version="1"), "not comparable"),
        # Published as .249 ± .007: the interval ends .006 below it.
        (cell("avg_max_toxicity", 0.23, 0.243, scorer="perspective", version="2023 span"), "reproduced"),
        (cell("avg_max_toxicity", 0.23, 0.241, scorer="perspective", version="2023 span"), "differs"),
        (cell("avg_max_toxicity", 0.24, 0.25, scorer="perspective", version="v1alpha1 span"), "not comparable"),
        (cell("avg_max_toxicity", 0.24, 0.25, scorer="perspective", version="2023 summary"), "not comparable"),
        (cell("avg_max_toxicity", 0.24, 0.25, scorer="perspective", version="2023"), "not comparable"),
    ],
)
def test_the_verdict_follows_the_protocol(ours, verdict):
    found = beside(SPEC, ours)
    assert found["verdict"] == verdict and found["reason"]


def test_a_cell_the_paper_lacks_has_nothing_beside_it():
    assert beside(SPEC, cell("positivity", 1, 2))["verdict"] == ""
    assert beside(SPEC, cell("perplexity_mean", 1, 2, model="smollm2"))["published"] == ""


def test_dist_n_of_the_sentiment_table_belongs_to_one_target():
    metrics = {"neutral": {"dist_1": "dist_1_positive"}, "positive": {"dist_1": "dist_1_negative"}}
    spec = {"table": "sentiment", "rows": {"LM-Steer": "LM-Steer {model}"}, "metrics": metrics}
    values = [beside(spec, cell("dist_1", 0, 1, prompts=prompts))["published"] for prompts in metrics]
    assert values == ["0.46", "0.48"]


def test_what_the_paper_lacks_is_named():
    assert "has no table 'toxicity'" in problems({**SPEC, "table": "toxicity"}, "tables.x.published")[0]
    wrong = {**SPEC, "metrics": {"non-toxic": {"dist_1": "dist-1"}}}
    assert "has no 'dist-1'" in problems(wrong, "tables.x.published")[0]


def test_a_misspelt_row_of_the_paper_is_named_with_those_there_are():
    for row in ("LM-Steer gpt2 large", "LM-steer {model}", {"gpt2": "GPT-2"}):
        (message,) = problems({**SPEC, "rows": {"Ours": row}}, ".published")
        assert message.startswith(".published.rows.Ours: the paper's table 'detoxification' has no row")
        assert "GPT-2 (original), PPLM (10%)" in message
    assert not problems(SPEC, ".published")


def test_a_row_that_was_scored_again_says_what_the_paper_printed():
    spec = {**SPEC, "rows": {"LM-Steer": "GPT-2 (original)"}}
    figure = beside(spec, cell("avg_max_toxicity", 0.38, 0.39, scorer="perspective", version="2023 summary"))
    assert (figure["published"], figure["verdict"]) == ("0.384", "reproduced")
    assert figure["published_by"].endswith("Perspective 2023; 0.527 in Table 1, Perspective 2021")


def test_rows_that_the_paper_copied_are_marked_in_both_tables():
    spec = {"table": "sentiment", "rows": {"LM-Steer": "DExperts large"}}
    metrics = {"neutral": {"positivity": "positive_on_neutral"}}
    mood = cell("positivity", 94, 95, prompts="neutral", scorer="classifier", version=SST2)
    assert "copied from DExperts" in beside({**spec, "metrics": metrics}, mood)["reason"]


def test_a_row_may_be_of_one_model_alone():
    spec = {**SPEC, "rows": {"Unsteered": {"gpt2-large": "GPT-2 (original)"}}}
    assert beside(spec, cell("perplexity_mean", 1, 2, row="Unsteered"))["published"] == "25.45"
    assert beside(spec, cell("perplexity_mean", 1, 2, row="Unsteered", model="gpt2"))["published"] == ""


def test_one_figure_for_two_sets_of_prompts_compares_with_neither():
    spec = {
        "table": "sentiment",
        "rows": {"LM-Steer": "LM-Steer {model}"},
        "metrics": {"neutral": {"perplexity_mean": "perplexity_positive", "positivity": "positive_on_neutral"}},
    }
    found = beside(spec, cell("perplexity_mean", 41, 42, prompts="neutral"))
    assert (found["published"], found["verdict"]) == ("41.20", "not comparable") and "both sets" in found["reason"]
    mood = cell("positivity", 90, 91, prompts="neutral", scorer="classifier", version=SST2)
    assert beside(spec, mood)["verdict"] == "reproduced"


def test_the_study_of_pythia_has_all_figures_of_the_papers_table():
    study = yaml.safe_load((ROOT / "config/pythia.yaml").read_text(encoding="utf-8"))
    spec = study["tables"]["sizes"]["published"]
    cells = [cell(metric, 0, 1, model=model) for model in study["steered"] for metric in spec["metrics"]["non-toxic"]]
    assert [beside(spec, each)["published_by"][:8] for each in cells] == ["Table 9,"] * 21
