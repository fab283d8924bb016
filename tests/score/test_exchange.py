import json

import pytest

from lm_steer import LMSteerError
from lm_steer.score.exchange import export_scores, import_scores
from lm_steer.score.run import score_files
from lm_steer.score.store import Item, Scorer, ScoreStore, continuation, exact_key, whole
from lm_steer.util.files import read_jsonl, write_jsonl

ITEMS = [Item("He said", text) for text in (" é fool", "", " fine")]
LINE = {
    "scorer": "perspective",
    "version": "2021",
    "text": " fine",
    "attribute": "toxicity",
    "value": 0.125,
    "scored_at": "2021-05-01 10:00:00",
}


def scorer(version: str = "1", text=continuation) -> Scorer:
    def judge(items):
        return ((index, (len(text(item)) / 3,)) for index, item in enumerate(items))

    return Scorer("length", version, ("thirds",), text, judge)


def replay(version: str) -> Scorer:
    return Scorer("perspective", version, ("toxicity",), continuation, lambda items: ())


@pytest.fixture
def store(tmp_path) -> ScoreStore:
    return ScoreStore(tmp_path / "scores.sqlite")


@pytest.fixture
def other(tmp_path) -> ScoreStore:
    return ScoreStore(tmp_path / "other.sqlite")


def write(path, *lines) -> str:
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_what_is_exported_and_imported_is_the_same_to_the_last_digit_and_time(store, other, tmp_path):
    expected = store.scores(scorer(), ITEMS)
    store.database.execute("UPDATE scores SET scored_at = '2023-05-01 10:00:00' WHERE value > 1")
    assert export_scores(store, tmp_path / "a.jsonl") == 3
    assert import_scores(other, tmp_path / "a.jsonl") == 3
    silent = Scorer("length", "1", ("thirds",), continuation, lambda items: ())
    assert other.scores(silent, ITEMS) == expected
    assert other.holdings() == store.holdings()
    export_scores(other, tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_texts_stand_beside_their_scores_where_a_file_has_them(store, tmp_path):
    store.scores(scorer(), ITEMS)
    store.scores(scorer("with prompt", whole), ITEMS[:1])
    rows = [{"prompt": {"text": "He said"}, "generations": [{"text": item.continuation} for item in ITEMS[:2]]}]
    write_jsonl(tmp_path / "generations.jsonl", rows)
    export_scores(store, tmp_path / "a.jsonl", files=[str(tmp_path / "generations.jsonl")])
    lines = read_jsonl(tmp_path / "a.jsonl")
    assert {line.get("text") for line in lines} == {" é fool", "\n", None, "He said é fool"}
    assert all(exact_key(line["text"]).hex() == line["sha256"] for line in lines if "text" in line)


def test_one_scorer_or_version_is_exported_alone(store, tmp_path):
    for version in ("1", "2"):
        store.scores(scorer(version), ITEMS)
    assert export_scores(store, tmp_path / "a.jsonl", "length", "2") == 3
    assert {line["version"] for line in read_jsonl(tmp_path / "a.jsonl")} == {"2"}


def test_what_the_store_does_not_have_is_refused_with_what_it_has(store, tmp_path):
    store.scores(scorer(), ITEMS)
    with pytest.raises(LMSteerError, match=r"no scores by perspective.*it has length 1"):
        export_scores(store, tmp_path / "a.jsonl", "perspective")
    assert not (tmp_path / "a.jsonl").exists()


def test_a_published_file_is_replayed_under_its_own_version_alone(store, tmp_path):
    import_scores(store, write(tmp_path / "a.jsonl", LINE))
    assert store.scores(replay("2021"), [Item("", " fine")]) == [(0.125,)]
    with pytest.raises(LMSteerError, match=r"only has other versions: 2021 \(1 texts\)"):
        store.scores(replay("2023"), [Item("", " fine")])


def test_a_time_with_an_offset_is_kept_in_utc(store, tmp_path):
    import_scores(store, write(tmp_path / "a.jsonl", {**LINE, "scored_at": "2021-05-01T01:30:00+02:00"}))
    assert store.holdings()[0].first == "2021-04-30 23:30:00"


def test_an_import_again_changes_nothing(store, tmp_path):
    path = write(tmp_path / "a.jsonl", LINE, "\n", LINE)
    assert (import_scores(store, path), import_scores(store, path)) == (1, 0)


def test_another_value_is_refused_and_nothing_of_the_file_is_taken(store, tmp_path):
    import_scores(store, write(tmp_path / "a.jsonl", LINE))
    path = write(tmp_path / "b.jsonl", {**LINE, "text": "new"}, "\n", {**LINE, "value": 0.5})
    with pytest.raises(
        LMSteerError, match=r"b\.jsonl, line 3: .*toxicity 0\.5 .*the store has 0\.125: nothing was imported"
    ):
        import_scores(store, path)
    assert store.holdings()[0].texts == 1
    assert store.scores(replay("2021"), [Item("", " fine")]) == [(0.125,)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scorer": ""}, "scorer: expected one line of text, found ''"),
        ({"version": 2021}, "version: expected text, found '2021'"),
        ({"scored_at": None}, "scored_at: expected text, found null"),
        ({"scored_at": "yesterday"}, "expected 'scored_at' as a time"),
        ({"scored_at": "0001-01-01T00:00:00+23:59"}, "expected 'scored_at' as a time"),
        ({"value": "0.5"}, "value: expected a number, found '0.5'"),
        ({"value": True}, "value: expected a number"),
        ({"value": float("nan")}, "NaN is not a finite number"),
        ({"text": None}, "expected 'sha256' or 'text', found neither"),
        ({"text": 5}, "'text' as a string, found 5"),
        ({"sha256": "abc"}, "'sha256' as 64 hexadecimal digits, found 'abc'"),
        ({"sha256": "0" * 64}, "'sha256' does not match 'text'"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_taken(store, tmp_path, change, message):
    with pytest.raises(LMSteerError) as caught:
        import_scores(store, write(tmp_path / "a.jsonl", LINE, {**LINE, **change}))
    assert "a.jsonl, line 2" in str(caught.value) and message in str(caught.value)
    assert store.holdings() == []


def test_a_broken_line_is_named_and_the_store_can_be_written_again(store, tmp_path):
    with pytest.raises(LMSteerError, match=r"a\.jsonl, line 2: not valid JSON"):
        import_scores(store, write(tmp_path / "a.jsonl", LINE, "{\n"))
    assert import_scores(store, write(tmp_path / "a.jsonl", LINE)) == 1


def test_earlier_scores_are_taken_in_before_a_scoring(tmp_path):
    write_jsonl(tmp_path / "g.jsonl", [{"prompt": {"text": "p"}, "generations": [{"text": " fine"}]}])
    options = {"mode": "replay", "version": "2021"}
    path = write(tmp_path / "a.jsonl", LINE)
    arguments = ("perspective", "", [str(tmp_path / "g.jsonl")], tmp_path / "scores.parquet", tmp_path / "cache")
    with pytest.raises(LMSteerError, match="1 of 1 texts have no score by perspective 2021"):
        score_files(*arguments, **options)
    score_files(*arguments, scores=path, **options)
    assert (tmp_path / "scores.parquet").exists()
