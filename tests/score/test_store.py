import math
import sqlite3
from collections.abc import Sequence

import pytest

from lm_steer import LMSteerError
from lm_steer.score.exchange import export_scores
from lm_steer.score.store import Item, Scorer, ScoreStore

ITEMS = [Item("a", " good"), Item("b", " bad"), Item("c", " good"), Item("d", " fine")]


class Judge:
    """Scores a continuation by its length; remembers what it was asked, and fails on what it is told to."""

    def __init__(self, fails_on: Sequence[str] = (), stops_after: int | None = None) -> None:
        self.asked: list[str] = []
        self.fails_on, self.stops_after = fails_on, stops_after

    def scorer(self, version: str = "1", name: str = "length") -> Scorer:
        return Scorer(name, version, ("characters", "words"), lambda item: item.continuation, self.judge)

    def judge(self, items: Sequence[Item]):
        # The last first, as a judge that sorts by length would answer.
        for index in reversed(range(len(items))):
            if len(self.asked) == self.stops_after:
                raise KeyboardInterrupt
            text = items[index].continuation
            self.asked.append(text)
            yield (
                index,
                f"cannot score{text}" if text in self.fails_on else (float(len(text)), float(len(text.split()))),
            )


@pytest.fixture
def store(tmp_path) -> ScoreStore:
    return ScoreStore(tmp_path / "scores.sqlite")


def test_scores_come_in_the_order_of_the_items(store):
    assert store.scores(Judge().scorer(), ITEMS) == [(5, 1), (4, 1), (5, 1), (5, 1)]


def test_identical_texts_are_asked_once(store):
    judge = Judge()
    store.scores(judge.scorer(), ITEMS)
    assert sorted(judge.asked) == [" bad", " fine", " good"]


def test_a_text_is_asked_once_for_all_time(store, tmp_path):
    store.scores(Judge().scorer(), ITEMS)
    judge = Judge()
    again = ScoreStore(tmp_path / "scores.sqlite")
    assert again.scores(judge.scorer(), [*ITEMS, Item("e", " new text")])[-1] == (9, 2)
    assert judge.asked == [" new text"]


@pytest.mark.parametrize("other", [{"version": "2"}, {"name": "breadth"}])
def test_versions_and_scorers_are_kept_apart(store, other):
    store.scores(Judge().scorer(), ITEMS)
    judge = Judge()
    store.scores(judge.scorer(**other), ITEMS)
    assert len(judge.asked) == 3


def test_texts_are_told_apart_to_the_byte(store):
    judge = Judge()
    store.scores(judge.scorer(), [Item("a", text) for text in ("x", "x ", "X", "x\n", "é", "e\u0301")])
    assert len(judge.asked) == 6


def test_an_error_is_no_score_and_fails_the_call_with_a_count(store):
    with pytest.raises(LMSteerError, match=r"2 of 3 texts have no score by length .*cannot score good"):
        store.scores(Judge(fails_on=(" good", " bad")).scorer(), ITEMS)


def test_a_second_call_goes_on_with_what_failed(store):
    with pytest.raises(LMSteerError):
        store.scores(Judge(fails_on=(" good",)).scorer(), ITEMS)
    judge = Judge()
    assert store.scores(judge.scorer(), ITEMS) == [(5, 1), (4, 1), (5, 1), (5, 1)]
    assert judge.asked == [" good"]


def test_a_killed_scoring_goes_on_from_its_last_answer(store, tmp_path):
    first = Judge(stops_after=2)
    with pytest.raises(KeyboardInterrupt):
        store.scores(first.scorer(), ITEMS)
    second = Judge()
    ScoreStore(tmp_path / "scores.sqlite").scores(second.scorer(), ITEMS)
    assert sorted(first.asked + second.asked) == [" bad", " fine", " good"]


def test_a_score_is_never_asked_of_a_judge_that_gives_none(store):
    silent = Scorer("silent", "1", ("value",), lambda item: item.continuation, lambda items: [])
    with pytest.raises(LMSteerError, match=r"3 of 3 texts have no score by silent .*none was recorded"):
        store.scores(silent, ITEMS)


def test_a_value_that_is_not_a_number_is_an_error(store):
    broken = Scorer("broken", "1", ("value",), lambda item: item.continuation, lambda items: [(0, (float("nan"),))])
    with pytest.raises(LMSteerError, match="3 of 3 texts have no score by broken"):
        store.scores(broken, ITEMS)


def test_nothing_is_written_where_all_is_known(store, tmp_path):
    store.scores(Judge().scorer(), ITEMS)
    holder = sqlite3.connect(tmp_path / "scores.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    # Another process writes: who only reads does not wait for it.
    store.database.execute("PRAGMA busy_timeout=0")
    assert store.scores(Judge().scorer(), ITEMS) == [(5, 1), (4, 1), (5, 1), (5, 1)]
    holder.execute("ROLLBACK")


def test_damage_in_the_middle_of_the_store_names_the_file_and_how_to_save_it(store, tmp_path):
    items = [Item("", f"{number} {'x' * 200}") for number in range(400)]
    store.scores(Judge().scorer(), items)
    store.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.database.close()
    path = tmp_path / "scores.sqlite"
    content = path.read_bytes()
    damaged = content[:12288] + b"noise" * ((len(content) - 12288) // 5)
    path.write_bytes(damaged)
    for use in (
        lambda: ScoreStore(path).scores(Judge().scorer(), items),
        lambda: ScoreStore(path).holdings(),
        lambda: export_scores(ScoreStore(path), tmp_path / "out.jsonl"),
    ):
        with pytest.raises(LMSteerError, match=r"scores\.sqlite is damaged .* \.recover"):
            use()
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("value", ["'text'", "9e999", "x'00'"])
def test_a_kept_score_that_is_no_number_is_damage(store, value):
    store.scores(Judge().scorer(), ITEMS)
    store.database.execute(f"UPDATE scores SET value = {value} WHERE attribute = 'words'")
    with pytest.raises(LMSteerError, match=r"scores\.sqlite is damaged \(the score of a text by length"):
        store.scores(Judge().scorer(), ITEMS)


@pytest.mark.parametrize("answer", [math.inf, math.nan])
def test_an_answer_that_is_not_finite_is_no_score(store, answer):
    scorer = Scorer("s", "1", ("a",), lambda item: item.continuation, lambda items: [(0, (answer,))])
    with pytest.raises(LMSteerError, match="not a finite number"):
        store.scores(scorer, ITEMS[:1])
