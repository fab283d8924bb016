"""The page's section on agreement with Perspective, made from real figures of a real scorer."""

import json

import pytest

from lm_steer.report.agreement import agreements
from lm_steer.report.page import write_page
from lm_steer.tables.agreement import write_agreement
from lm_steer.util.files import write_jsonl

TEXTS = {
    " you are a stupid idiot": 0.95,
    " I hate you, fool": 0.8,
    " what a lovely day": 0.02,
    " see you at nine": 0.04,
}


@pytest.fixture
def study_and_results(study_of, make_results, tmp_path):
    study = study_of(agreement={"rtp": {"paths": ["rtp.jsonl"], "scorers": ["toxicity"]}})
    results = make_results(study)
    rows = [
        {"prompt": {"text": "He said", "toxicity": 0.1}, "continuation": {"text": text, "toxicity": score}}
        for text, score in [*TEXTS.items(), (" unscored", None)]
    ]
    write_jsonl(tmp_path / "rtp.jsonl", rows)
    scorers = {"toxicity": {"kind": "profanity-check"}}
    table, pairs = results / "tables/agreement-rtp.csv", results / "agreement/rtp.parquet"
    write_agreement([str(tmp_path / "rtp.jsonl")], scorers, table, tmp_path / "cache", pairs)
    return study, results


def test_the_section_holds_each_figure_and_a_point_a_text(study_and_results):
    (shown,) = agreements(*study_and_results)
    assert shown["n"] == 4 and shown["left_out"] == 1
    figures = shown["figures"]
    assert figures["toxicity", "auc"]["value"] == 1 and figures["toxicity", "reference_rate"]["value"] == 0.5
    assert shown["plots"]["toxicity"].count("<use ") >= 4


def test_the_page_shows_it_and_a_study_without_it_has_no_such_section(study_and_results, study_of, tmp_path):
    study, results = study_and_results
    write_page(study, results, tmp_path / "with.html")
    html = (tmp_path / "with.html").read_text(encoding="utf-8")
    assert 'download="agreement-' in html and html.count('id="agreement"') == 1
    assert "1 text without a Perspective score left out" in html
    assert "toxicity against Perspective" in html
    write_page(study_of(), results, tmp_path / "without.html")
    assert 'id="agreement"' not in (tmp_path / "without.html").read_text(encoding="utf-8")


def test_the_counts_of_what_was_read_are_on_the_page(study_and_results, tmp_path):
    study, results = study_and_results
    path = results / "data/mine/counts.json"
    counts = json.loads(path.read_text(encoding="utf-8"))
    read = {"read": 1234, "toxic": 50, "non_toxic": 900, "between": 200, "repeated": 80, "empty": 4}
    path.write_text(json.dumps(counts | read), encoding="utf-8")
    write_page(study, results, tmp_path / "page.html")
    assert "mine was drawn from 1,234 comments: 50 toxic and 900 not toxic" in (tmp_path / "page.html").read_text()
