"""The page's part on analyses, from results written by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from lm_steer.analyse.evidence import Evidence, Reading, Span, write_evidence
from lm_steer.report import plots
from lm_steer.report.analyses import analyses, seed_spreads, without_analyses
from lm_steer.report.page import write_page

TEXT = "A <b>fine</b> film ☃!"


@pytest.fixture
def study(study_of) -> dict:
    study = study_of()
    blocks = {kind: {} for kind in ("sweeps", "compositions", "transfers", "ablations", "baselines", "costs")}
    shown = {"steer": "mood", "dimension": "mood", "value": 5, "opposite": True, "toxic": True}
    words = {"steer": "mood", "dimension": "mood", "scorer": ""}
    return {**study, "analyses": {**blocks, "directions": {"words": words}, "evidence": {"shown": shown}}}


@pytest.fixture
def results(study, make_results):
    results = make_results(study)
    # Three tokens are part of one character, and share its range.
    offsets = [(0, 1), (1, 18), (18, 20), (20, 21), (20, 21), (20, 21), (21, 22)]
    scores = [0.0, 1.5, -0.5, 0.2, 0.2, 0.2, -1.0]
    found = Evidence(TEXT, offsets, scores, [Span(1, 2, 1.5)])
    curve = Reading([-5.0, 0.0, 5.0], [-9.0, -7.0, -8.0], 0.8, True)
    folder = results / "analyses/tiny"
    write_evidence([found], [curve], [[(2, 18)]], folder / "shown.tokens.csv", folder / "shown.readings.csv")
    return results


def test_texts_are_coloured_once_and_escaped(study, results, tmp_path):
    (part,) = analyses(study, results)
    (highlight,) = part["highlights"]
    assert "".join(token["piece"] for token in highlight["tokens"]) == TEXT[:18] + TEXT[18:]
    assert [token["span"] for token in highlight["tokens"]] == [False, True, False, False, False]
    assert highlight["tokens"][1]["depth"] > 0 > highlight["tokens"][2]["depth"]
    assert (highlight["reading"], highlight["found"]) == ("0.8", "precision 0.94, recall 1.00")
    write_page(json.dumps(study), results, tmp_path / "index.html")
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<b>fine" not in html and "Where a style shows: shown, tiny" in html
    # Folded behind a warning, as the block says that the texts are toxic.
    assert "Open to read them." in html


def test_an_analysis_that_is_not_there_makes_no_part(study, results):
    (results / "analyses/tiny/shown.tokens.csv").unlink()
    assert analyses(study, results) == []


def test_seeds_that_spread_wider_than_the_interval_are_shown(study_of, make_results):
    study = study_of(seeds=(0, 1, 2))
    results = make_results(study)
    path = results / "tables/mood.csv"
    table = pd.read_csv(path)
    first = table["metric"] == "positivity"
    table.loc[first, ["low", "high"]] = table.loc[first, ["value", "value"]].to_numpy()
    table.loc[first, "seed_high"] = table.loc[first, "seed_low"] + 7
    table.to_csv(path, index=False)
    rows = [row for row in seed_spreads(study, results) if row[2].startswith("Positive")]
    assert len(rows) == first.sum() and all(row[0] == "mood" and "–" in row[4] for row in rows)
    assert seed_spreads({**study, "seeds": [0]}, results) == []


def test_the_lowest_and_the_highest_seed_stand_in_the_table(study_of, make_results):
    study = study_of(seeds=(0, 1, 2))
    table = pd.read_csv(make_results(study) / "tables/mood.csv")
    assert (table["seed_low"] <= table["value"] + 1e-9).all() and (table["value"] <= table["seed_high"] + 1e-9).all()
    assert (table["seed_low"] < table["seed_high"]).any()


def test_what_analyses_made_is_left_out_of_the_main_part(study):
    made = {**study["settings"]["mild-rude"], "analysis": "sweeps.dial"}
    whole = {**study, "settings": {**study["settings"], "dial-5": made}}
    assert list(without_analyses(whole)["settings"]) == list(study["settings"])


def test_figures_say_what_they_show():
    svg = plots.heat_map([0, 5], [-5, 0], np.array([[1.0, 2], [3, 4]]), "detox", "mood", "positivity", "A grid")
    assert 'aria-label="A grid"' in svg
    assert all(text in svg for text in ("detox", "mood", "4.0", "−5"))
    bars = plots.token_bars(["<a>", " joy"], [0.5, -0.5], "Bars")
    assert "&lt;a&gt;" in bars and "joy" in bars
