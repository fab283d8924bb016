import base64
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lm_steer.data import layout
from lm_steer.report import wording
from lm_steer.report.findings import steer_label
from lm_steer.report.page import write_page
from lm_steer.study.config import Study
from lm_steer.util.errors import LMSteerError

VOID = {"meta", "link", "br", "colgroup"}


class Page(HTMLParser):
    """The page as tags and texts, each with the tags around it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.open, self.tags, self.texts = html, [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
            self.open.pop()

    def handle_data(self, data):
        self.texts.append((data, tuple(self.open)))

    @property
    def text(self) -> str:
        return " ".join(" ".join(data for data, around in self.texts if not {"style", "script"} & set(around)).split())


@pytest.fixture
def page_of(make_results, tmp_path):
    def make(study: Study) -> Page:
        results = make_results(study)
        write_page(study, results, tmp_path / "index.html")
        return Page((tmp_path / "index.html").read_text(encoding="utf-8"))

    return make


@pytest.fixture
def page(page_of, study_of) -> Page:
    return page_of(study_of())


def test_no_request_leaves_the_page(page):
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [{}]
    assert not re.search(r"url\((?!#)|@import", page.html)


def test_texts_are_escaped(page):
    assert page.html.count("<script>") == 1
    assert "<script>glad-neutral 0</script> & more" in page.text
    assert "A <small> study" in page.text
    assert "{{ 7 * 7 }}" in page.text


def test_control_characters_are_shown_as_such(page_of, study_of):
    html = page_of(study_of(title="A\x00small\x1b[31m \ufffestudy")).html
    assert "A\ufffdsmall\ufffd[31m \ufffdstudy" in html
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", html)


def test_where_the_corpus_dimension_is_held(page, page_of, study_of):
    assert "it is held at 1, as in the original code" in page.text
    off = study_of(settings={"mild-rude": {"steer": {"detox": {"corpus": 0}}}})
    assert "it is off (0) in every row." in page_of(off).text


def test_toxic_samples_are_behind_a_warning_in_their_chapter_and_the_others_are_not(page):
    for data, around in page.texts:
        if "<script>mild-rude" in data or "<script>plain-rude" in data:
            assert around.count("details") == 2
        if "<script>glad-neutral" in data:
            assert around.count("details") == 1
    assert any("glad-neutral" in data for data, _ in page.texts)
    assert "Content warning." in page.text
    assert not any("open" in attributes for tag, attributes in page.tags if tag == "details")


def test_what_changed_is_said_and_what_cannot_be_told(page):
    mild = "Mild weak labels lowered average maximum toxicity on rude prompts from"
    # On the first screen, and among all differences.
    assert page.text.count(mild) == 2
    assert "Glad had no effect on the share judged positive on neutral prompts distinguishable from chance" in page.text
    # Claims on toxic prompts come last.
    assert page.text.index("Glad had") < page.text.index(mild)
    assert "each steer was trained once" in page.text


def test_weak_labels_are_marked_where_their_steer_is_named(page):
    def marked(name: str) -> bool:
        return bool(re.search(rf"{re.escape(name)}\s*weak labels", page.text))

    assert all(marked(name) for name in ("Mild", "learned from listed", "detox +5", "4.20", "detox"))
    assert not any(marked(name) for name in ("Glad", "learned from mine", "Unsteered", "mood"))
    assert "Mild, rude prompts †" in page.text


def test_the_table_can_be_downloaded(page, tmp_path):
    links = {attributes["download"]: attributes["href"] for _, attributes in page.tags if "download" in attributes}
    assert set(links) == {"manners.csv", "mood.csv", "manners.tex", "mood.tex"}
    content = base64.b64decode(links["mood.csv"].split("base64,")[1])
    assert content == (tmp_path / "results/tables/mood.csv").read_bytes()


def test_ids_are_unique_and_links_lead_somewhere(page_of, study_of):
    page = page_of(study_of(("tiny", "small")))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [attributes.get("href") or attributes.get("xlink:href", "") for _, attributes in page.tags]
    assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)
    clips = re.findall(r"url\(#([^)]*)\)", page.html)
    assert set(clips) <= set(ids)


def test_a_screen_reader_finds_its_way(page):
    tags = [tag for tag, _ in page.tags]
    assert {"header", "nav", "main", "footer"} <= set(tags)
    assert tags.count("caption") == tags.count("table")
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    pictures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert pictures and all(one["role"] == "img" and one["aria-label"] for one in pictures)


def test_two_models_and_two_seeds(page_of, study_of):
    page = page_of(study_of(("tiny", "small"), (0, 1)))
    assert "8 prompts, 48 texts" in page.text
    assert "models tiny, small stayed frozen" in page.text
    assert "and over 2 trainings" in page.text and "trained once" not in page.text
    assert sum(tag == "svg" for tag, _ in page.tags) == 8  # models × (two headline metrics, two steers)


def test_a_study_without_steers(page_of, study_of):
    page = page_of(study_of(steered=False))
    assert "No steer is trained in this study" in page.text
    assert "What changed" not in page.text and "trained once" not in page.text
    assert "Texts side by side" not in page.text
    assert not any(tag == "svg" for tag, _ in page.tags)
    assert "Manners & <i>" in page.text


def test_settings_without_scorers_have_dist_alone(page_of, study_of):
    page = page_of(study_of(settings={name: {"scorers": []} for name in study_of().settings}))
    assert "Dist-3" in page.text
    assert "Toxicity prob." not in page.text


def test_the_same_results_give_the_same_page(page_of, study_of):
    assert page_of(study_of()).html == page_of(study_of()).html


def test_an_unfinished_run_shows_what_is_there_and_says_what_is_missing(page_of, study_of, tmp_path):
    study = study_of()
    finished = page_of(study)
    assert "This run is not finished" not in finished.text
    results = tmp_path / "results"
    (results / "tables/mood.csv").unlink()
    layout.generations(results, "tiny", 0, "glad-neutral").unlink()
    shutil.rmtree(results / "steers/tiny/mood")
    shutil.rmtree(results / "data/mine")
    write_page(study, results, tmp_path / "part.html")
    part = Page((tmp_path / "part.html").read_text(encoding="utf-8"))
    assert "1 of 2 steers, 3 of 4 files of texts, 1 of 2 tables." in part.text
    assert "Tables tables/mood.csv" in part.text
    assert "Files of texts generations/tiny/seed0/glad-neutral.jsonl" in part.text
    assert "Manners & <i>" in part.text and "Loss of detox" in part.text and "Loss of mood" not in part.text
    for folder in results.iterdir():
        shutil.rmtree(folder)
    write_page(study, results, tmp_path / "none.html")
    assert "0 of 2 tables." in (tmp_path / "none.html").read_text(encoding="utf-8")


def test_results_that_are_nowhere_are_an_error(study_of, tmp_path):
    with pytest.raises(LMSteerError, match="no such folder"):
        write_page(study_of(), tmp_path / "results", tmp_path / "index.html")
    assert not (tmp_path / "index.html").exists()


def test_benchmarks_and_the_judge_are_shown_where_they_are_there(make_results, study_of, tmp_path):
    study = study_of()
    results = make_results(study)
    write(results / "benchmarks/train/tiny.tsv", "s\th:m:s\tmax_rss\tcpu_time\n90.0\t0:01:30\t1234.5\t9\n")
    write(results / "benchmarks/data/mine.tsv", "s\th:m:s\tmax_rss\tcpu_time\n30.0\t0:00:30\tNA\t9\n")
    note = {"trained_on": "reviews", "texts": 50, "left_out_as_overlapping": 2}
    note |= {"held_out_texts": 1000, "held_out_accuracy": 0.7981}
    write(results / "judges/sentiment/judge.json", json.dumps(note))
    write_page(study, results, tmp_path / "index.html")
    text = Page((tmp_path / "index.html").read_text(encoding="utf-8")).text
    assert "2.0 minutes over 2 measured steps; peak memory 1,234 MB" in text
    assert "right on 79.8 % of 1,000 held-out texts of mine" in text


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.4137, 3, "0.414"),
        (-0.0712, 3, "−0.071"),
        (-0.0001, 3, "0.000"),
        (12345.6, 1, "12,346"),
        (float("nan"), 1, "–"),
        (float("inf"), 1, "∞"),
    ],
)
def test_numbers_are_written_as_people_read_them(value, digits, text):
    assert wording.number(value, digits) == text


@pytest.mark.parametrize(
    ("metric", "start", "difference", "low", "high", "text", "verdict"),
    [
        ("positivity", 62, 31, 27, 36, "raised the share judged positive on mild prompts from 62 % to 93 % "
         "(+31 points, 27 to 36), at perplexity 31 → 38", "other"),
        ("dist_1", 0.8, -0.2, -0.3, -0.1, "lowered dist-1 on mild prompts from 0.80 to 0.60 "
         "(−0.20, −0.30 to −0.10), at perplexity 31 → 38", "worse"),
        ("dist_1", 0.8, 0, -0.1, 0.1, "had no effect on dist-1 on mild prompts distinguishable from chance: "
         "0.80 → 0.80 (0.00, −0.10 to 0.10), at perplexity 31 → 38", "none"),
    ],
)  # fmt: skip
def test_a_difference_is_said_from_value_to_value(metric, start, difference, low, high, text, verdict):
    cell = {"metric": metric, "prompts": "mild", "value": start + difference}
    cell |= {"difference": difference, "difference_low": low, "difference_high": high}
    price = {"value": 38.0, "difference": 7.0, "difference_low": 1.0, "difference_high": 9.0}
    assert " ".join(wording.claim(cell, price).values()).replace("\xa0", " ") == text
    assert wording.verdict(cell) == verdict


def test_a_setting_is_called_by_its_values(study_of):
    study = study_of()
    assert steer_label({}, study) == "unsteered"
    assert steer_label({"detox": {"detox": 5, "corpus": 1}}, study) == "detox +5"
    assert steer_label({"detox": {"detox": -5}}, study) == "detox −5, corpus 0"
    assert steer_label({"detox": {"corpus": 1}}, study) == "corpus +1 alone"
    assert steer_label({"detox": {"detox": 0.5, "corpus": 1}, "mood": {"mood": 2}}, study) == "detox +0.5, mood +2"


def test_a_label_has_minus_signs_before_numbers():
    assert wording.typeset("non-toxic -5 -x") == "non-toxic −5 -x"
