"""The page's part on analyses, from results written by hand."""

import re
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from lm_steer.analyse.evidence import Evidence, Reading, Span, write_evidence
from lm_steer.report.analyses import analyses, seed_spreads
from lm_steer.report.figures.planes import WORD_SIZE, heat_map, trade_off, words
from lm_steer.report.figures.rows import token_bars
from lm_steer.report.figures.style import Point
from lm_steer.report.page import write_page
from lm_steer.study.analyses import Analyses
from lm_steer.study.config import Study

TEXT = "A <b>fine</b> film ☃!"


@pytest.fixture
def study(study_of) -> Study:
    shown = {"steer": "mood", "dimension": "mood", "value": 5, "opposite": True, "toxic": True, "texts": [TEXT]}
    directions = {"steer": "mood", "dimension": "mood"}
    return study_of(analyses={"directions": {"words": directions}, "evidence": {"shown": shown}})


def with_points(study, kind, name, points, **keys):
    """The study with an analysis of settings that it has already."""
    common = {"steer": "mood", "prompts": "neutral", "scorers": ["sentiment"]}
    block = Analyses.model_validate({kind: {name: {**common, **keys}}})
    block = getattr(block, kind)[name].model_copy(update={"points": points})
    return study.model_copy(update={"analyses": Analyses().model_copy(update={kind: {name: block}})})


@pytest.fixture
def results(study, make_results):
    results = make_results(study)
    # Three tokens are part of one character, and share its range.
    offsets = [(0, 1), (1, 18), (18, 20), (20, 21), (20, 21), (20, 21), (21, 22)]
    scores = [0.0, 1.5, -0.5, 0.2, 0.2, 0.2, -1.0]
    evidence = Evidence(TEXT, offsets, scores, [Span(1, 2, 1.5)])
    curve = Reading([-5.0, 0.0, 5.0], [-9.0, -7.0, -8.0], 0.8, True)
    folder = results / "analyses/tiny"
    write_evidence([evidence], [curve], [[(2, 18)]], folder / "shown.tokens.csv", folder / "shown.readings.csv")
    return results


def test_texts_are_coloured_once_and_escaped(study, results, tmp_path):
    (part,) = analyses(study, results)
    (highlight,) = part["highlights"]
    assert "".join(token["piece"] for token in highlight["tokens"]) == TEXT[:18] + TEXT[18:]
    assert [token["span"] for token in highlight["tokens"]] == [False, True, False, False, False]
    assert highlight["tokens"][1]["depth"] > 0 > highlight["tokens"][2]["depth"]
    assert (highlight["reading"], highlight["agreement"]) == ("0.8", "precision 0.94, recall 1.00")
    write_page(study, results, tmp_path / "index.html")
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<b>fine" not in html and "Which words show the style: shown, tiny" in html
    # Folded behind a warning, as the block says that the texts are toxic.
    assert "Open to read them." in html


def test_an_analysis_that_is_not_there_makes_no_part(study, results):
    (results / "analyses/tiny/shown.tokens.csv").unlink()
    assert analyses(study, results) == []


@pytest.mark.parametrize(
    ("above", "below", "sentences"),
    [
        (
            (0.0, 0.0, 0.0),
            (0.0, 0.0, 0.0),
            ["Perplexity already exceeds 2 × unsteered at 0, because of the held values: corpus 1."],
        ),
        (
            (1.2, 0.5, 2.0),
            (-3.0, -4.5, 0.5),
            [
                "Going upwards, perplexity exceeds 2 × unsteered at 1.2 (0.5\u00a0to\u00a02.0).",
                "Going downwards, perplexity exceeds 2 × unsteered at −3.0 (−4.5\u00a0to\u00a00.5).",
            ],
        ),
        (
            (np.nan, np.nan, np.nan),
            (0.0, -1.0, 0.0),
            [
                "Going upwards, perplexity stays within 2 × unsteered over the whole sweep.",
                "Going downwards, perplexity exceeds 2 × unsteered at 0.0 (−1.0\u00a0to\u00a00.0).",
            ],
        ),
    ],
)
def test_a_sweep_says_where_quality_breaks(study, results, above, below, sentences):
    points = [{"setting": "plain-neutral", "label": "Unsteered"}]
    points += [{"setting": "glad-neutral", "label": f"mood {x}", "x": x} for x in (-5, 0)]
    keys = {"dimension": "mood", "values": [-5, 0], "held": {"corpus": 1}}
    rows = [
        {"model": "tiny", "figure": f"breaks_{side}", "metric": "perplexity", "point": "2 × unsteered"}
        | dict(zip(("value", "low", "high"), numbers, strict=True))
        for side, numbers in (("above", above), ("below", below))
    ]
    pd.DataFrame(rows).to_csv(results / "analyses/mood.csv", index=False)
    (part,) = analyses(with_points(study, "sweeps", "mood", points, **keys), results)
    assert part["text"] == sentences


@pytest.mark.parametrize(
    ("metric", "trained", "sentences"),
    [
        (
            "avg_max_toxicity",
            "mild-rude",
            "Inverse: 0.90 (0.50\u00a0to\u00a01.20) of the effect on average maximum toxicity is kept.",
        ),
        (
            "positivity",
            "glad-neutral",
            "Inverse: no share can be given, because the effect on the share judged positive of the steer trained on "
            "the target is indistinguishable from 0.",
        ),
    ],
)
def test_a_share_is_kept_of_an_effect_alone(study, results, metric, trained, sentences):
    table = {"mild-rude": "manners", "glad-neutral": "mood"}[trained]
    unsteered = study.settings[trained].against
    points = [{"setting": unsteered, "label": "Unsteered"}, {"setting": trained, "label": "Trained on the target"}]
    row = {"model": "tiny", "figure": "recovered", "metric": metric, "point": "Inverse"}
    pd.DataFrame([row | {"value": 0.9, "low": 0.5, "high": 1.2}]).to_csv(results / f"analyses/{table}.csv", index=False)
    keys = {"source": "a", "target": "b", "values": {"mood": 5}}
    (part,) = analyses(with_points(study, "transfers", table, points, **keys), results)
    assert part["text"] == [sentences]


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
    assert seed_spreads(study_of(), results) == []


def test_the_lowest_and_the_highest_seed_stand_in_the_table(study_of, make_results):
    study = study_of(seeds=(0, 1, 2))
    table = pd.read_csv(make_results(study) / "tables/mood.csv")
    assert (table["seed_low"] <= table["value"] + 1e-9).all() and (table["value"] <= table["seed_high"] + 1e-9).all()
    assert (table["seed_low"] < table["seed_high"]).any()


def test_figures_say_what_they_show():
    svg = heat_map("A grid", [0, 5], [-5, 0], np.array([[1.0, 2], [3, 4]]), ["detox", "mood"], "positivity")
    assert 'aria-label="A grid"' in svg
    assert all(text in svg for text in ("detox", "mood", "4.0", "−5"))
    bars = token_bars("Bars", ["<a>", " joy"], [0.5, -0.5])
    assert "&lt;a&gt;" in bars and "joy" in bars


def places_of(svg: str, labels: list[str]) -> dict[str, tuple[float, float]]:
    """Where each label of a figure is written: x and y."""
    texts = re.findall(r'x="([\d.]+)" y="([\d.]+)" transform[^>]*>([^<]+)<', svg)
    return {label: (float(x), float(y)) for x, y, label in texts if label in labels}


def test_points_of_one_place_are_named_apart_and_published_ones_drawn():
    point = {"value": 20.0, "low": 20.0, "high": 20.0}
    far = {"value": 300.0, "low": 200.0, "high": 400.0}
    labels = ["unsteered", "0", "+5"]
    drawn = [
        trade_off(
            "A price",
            [Point(label, cell | more, cell) for label, cell in zip(labels, cells, strict=True)],
            "positivity",
        )
        for cells in [(point, point, far)]
        for more in ({}, {"published": "25"})
    ]
    places = places_of(drawn[0], labels)
    (x, y), (other_x, other_y) = places["unsteered"], places["0"]
    assert len(places) == 3 and (abs(y - other_y) > WORD_SIZE or abs(x - other_x) > 5)
    assert drawn[1].count("<use") > drawn[0].count("<use")


def test_words_at_one_place_do_not_lie_over_each_other():
    listed = [(word, 0.1, 0.2, True) for word in ("fine", "lovely", "splendid", "warm")] + [("grim", -0.3, 0.2, False)]
    places = places_of(words("Words", listed), [word for word, *_ in listed])
    assert len(places) == 5
    for (one, (x, y)), (_, (other_x, other_y)) in permutations(places.items(), 2):
        assert abs(y - other_y) > WORD_SIZE or other_x > x + 4 * len(one) or other_x < x
