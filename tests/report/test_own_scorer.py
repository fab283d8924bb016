"""Recipes for a scorer and a metric of a user's own: a module, and its name in the study."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from lm_steer import LMSteerError
from lm_steer.cli import app
from lm_steer.report.page import write_page
from lm_steer.study import plan
from lm_steer.study.config import Study, read_study
from lm_steer.tables import metrics

SCORER = '''
from lm_steer.score.registry import Kind, key
from lm_steer.score.store import Scorer, continuation
from lm_steer.util.options import Positive


class Formality(Kind):
    """Formality, by the length of the longest word."""

    yields = "formality"

    letters: Positive = key("How many letters a formal word has.", 9)

    def scorer(self, resource="", dtype="float32"):
        def judge(items):
            for number, item in enumerate(items):
                yield number, (float(max(map(len, item.continuation.split())) >= self.letters),)

        return Scorer("longest-word", f"1, {self.letters} letters", ("formality",), continuation, judge)
'''
METRIC = """
from lm_steer.tables.metrics import Metric, mean, register

register(Metric("formal_prompts", "Formal prompts", "the share of formal prompts", "formality",
                lambda scores: scores.max(axis=1) >= 0.5, mean, better=1, headline=True))
"""


@pytest.fixture
def of_kind(study_of):
    def make(kind: str, **keys) -> Study:
        changes = {name: {"scorers": ["formality", "perplexity"]} for name in ("plain-neutral", "glad-neutral")}
        return study_of(scorers={"formality": {"kind": kind, **keys}}, settings=changes)

    return make


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """The folder of a study; metrics that a module registers are forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(metrics, "_METRICS", dict(metrics._METRICS))
    return tmp_path


@pytest.mark.parametrize(
    ("module", "source", "metric", "heading", "words"),
    [
        ("formality", SCORER, "formality", "Formality, %", "formality on "),
        (
            "formality_apart",
            SCORER + METRIC,
            "formal_prompts",
            "Formal prompts",
            "share of formal prompts on ",
        ),
    ],
)
def test_a_scorer_of_ones_own_has_its_own_name_in_table_and_page(
    folder, of_kind, make_results, module, source, metric, heading, words
):
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    study, results = of_kind(f"{module}:Formality", letters=5), Path("results")
    study.write(results / "study.json")
    assert read_study(results / "study.json").scorers["formality"].letters == 5

    def score() -> None:
        options = plan.score(study, "tiny", "formality").options
        done = CliRunner().invoke(app, ["score", *options, "--output", "results/scores/tiny/formality.parquet"])
        assert done.exit_code == 0, done.output

    make_results(study, results, score)
    frame = pd.read_csv("results/tables/mood.csv").set_index(["row", "metric"])
    assert frame.loc[("Glad", metric), "scorer"] == "longest-word"
    assert frame.loc[("Glad", metric), "version"] == "1, 5 letters"
    write_page(study, results, Path("index.html"))
    page = Path("index.html").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ").replace("&nbsp;", " ")
    assert f">{heading}" in page and words in page and "Positive" not in page


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        ("nowhere:Formality", {}, "scorers.formality: 'nowhere:Formality' cannot be imported: .*No module named"),
        ("json:dumps", {}, "scorers.formality: 'json:dumps' is not a kind of scorer: expected a subclass of"),
        ("formality_keys:Formality", {"leters": 5}, "scorers.formality: unknown key 'leters' .did you mean 'letters'"),
        ("formality_keys:Formality", {"letters": 0}, "scorers.formality: letters: expected a whole number from 1"),
    ],
)
def test_a_scorer_that_is_none_is_named(folder, of_kind, kind, keys, message):
    (folder / "formality_keys.py").write_text(SCORER, encoding="utf-8")
    with pytest.raises(LMSteerError, match=message):
        of_kind(kind, **keys)


def test_two_metrics_of_one_name_are_refused(folder, of_kind):
    (folder / "formality_twice.py").write_text(SCORER + METRIC.replace("formal_prompts", "perplexity"), "utf-8")
    with pytest.raises(LMSteerError, match="two metrics are called 'perplexity': rename one"):
        of_kind("formality_twice:Formality")
