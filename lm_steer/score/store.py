"""The score store: an SQLite file to which scorers write answers as they arrive, so that no text is judged twice.

A score is stored under (scorer, version, sha256 of the exact text, attribute) with the time it was made; errors have a
table of their own. Scoring that was killed continues from its last answer.
"""

import hashlib
import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from lm_steer.util.database import is_damage, open_database, transaction
from lm_steer.util.errors import LMSteerError
from lm_steer.util.progress import Progress

SCHEMA = """
CREATE TABLE IF NOT EXISTS scores (
    scorer TEXT, version TEXT, text BLOB, attribute TEXT, value REAL NOT NULL,
    scored_at TEXT DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (scorer, version, text, attribute)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS errors (
    scorer TEXT, version TEXT, text BLOB, message TEXT NOT NULL, happened_at TEXT DEFAULT CURRENT_TIMESTAMP);
"""
# The name of the file in a cache folder.
STORE = "scores.sqlite"
AGAIN = "run again to continue from there"
# Seconds between writes: a model's answers are written in blocks, a service's one by one.
EVERY = 0.5
# One value per attribute, or an error message.
Answer = tuple[float, ...] | str
# The index of an item, and its score.
Scores = Iterator[tuple[int, tuple[float, ...]]]


@dataclass(frozen=True)
class Item:
    """A prompt and one continuation of it."""

    prompt: str
    continuation: str


@dataclass(frozen=True)
class Scorer:
    """A judge of texts with a name and a version.

    text        returns the exact text of an item that is judged, and under which its score is stored
    judge       yields (index into the items, one value per attribute) as answers arrive, or (index, error message)
    advice      what to do if texts end up without a score
    """

    name: str
    version: str
    attributes: tuple[str, ...]
    text: Callable[[Item], str]
    judge: Callable[[Sequence[Item]], Iterable[tuple[int, Answer]]]
    advice: str = AGAIN


@dataclass(frozen=True)
class Holding:
    """The number of texts with scores by one version of a scorer, and when the first and the last were scored."""

    scorer: str
    version: str
    texts: int
    first: str
    last: str


def _checked(answered: Any, scorer: Scorer, count: int) -> tuple[int, Answer]:
    """Return what a judge has yielded, which may be of a user's own code."""
    match answered:
        case (int(index), str() as answer) if 0 <= index < count:
            return index, answer
        case (int(index), tuple() as answer) if 0 <= index < count and len(answer) == len(scorer.attributes):
            if all(isinstance(value, Real) for value in answer):
                return index, tuple(map(float, answer))
    raise LMSteerError(
        f"the scorer {scorer.name} yielded {answered!r:.80}: expected the index of one of {count} texts, and "
        f"a tuple of {len(scorer.attributes)} numbers or why there are none"
    )


def continuation(item: Item) -> str:
    """Return the text that toxicity is judged on: the continuation alone, an empty one as a line break."""
    return item.continuation or "\n"


def whole(item: Item) -> str:
    """Return the text that sentiment is judged on: prompt and continuation."""
    return item.prompt + item.continuation


def exact_key(text: str) -> bytes:
    """Return the key under which a text is stored."""
    return hashlib.sha256(text.encode()).digest()


class ScoreStore:
    """The SQLite file of scores."""

    def __init__(self, path: str | Path) -> None:
        self.path = path
        with self.whole():
            self.database = open_database(path)
            self.database.executescript(SCHEMA)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Name the file in errors inside the block, and how to save its scores if it is damaged."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                error.add_note(f"{self.path}")
                raise
            raise self.damaged(str(error)) from None

    def damaged(self, reason: str) -> LMSteerError:
        """Return the error that says how to save the scores of a damaged file."""
        return LMSteerError(
            f"{self.path} is damaged ({reason}), and its scores may have been paid for: save what is left with "
            f"`sqlite3 {self.path} .recover | sqlite3 {self.path}.new`, or move it away to score again"
        )

    def scores(self, scorer: Scorer, items: Sequence[Item]) -> list[tuple[float, ...]]:
        """Return each item's scores, one value per attribute, judging those that the store lacks.

        Raises LMSteerError with the number of texts that could not be scored; the other scores are kept.
        """
        keys = [exact_key(scorer.text(item)) for item in items]
        item_of = dict(reversed([*zip(keys, items, strict=True)]))
        unique = list(dict.fromkeys(keys))
        with self.whole():
            scores = self._read(scorer, unique)
            missing = [key for key in unique if key not in scores]
            with Progress(f"score {scorer.name}", len(unique), "text") as progress:
                progress.skip(len(scores))
                self._judge(scorer, missing, [item_of[key] for key in missing], progress)
            scores |= self._read(scorer, missing)
            if len(scores) < len(unique):
                raise LMSteerError(
                    f"{len(unique) - len(scores)} of {len(unique)} texts have no score by {scorer.name} "
                    f"{scorer.version} (the last error: {self._last_error(scorer)}){self._other_versions(scorer)}; "
                    f"{scorer.advice}"
                )
        return [scores[key] for key in keys]

    def _judge(self, scorer: Scorer, keys: list[bytes], items: list[Item], progress: Progress) -> None:
        """Write the scorer's answers under the keys of their items, as they arrive."""
        pending: list[tuple[bytes, Answer]] = []
        last_write = time.monotonic()
        try:
            for answered in scorer.judge(items):
                index, answer = _checked(answered, scorer, len(items))
                pending.append((keys[index], answer))
                if time.monotonic() - last_write >= EVERY:
                    # Cleared first, so that a write that fails is not repeated below.
                    block, pending = pending, []
                    self._write(scorer, block)
                    last_write = time.monotonic()
                progress.advance()
        finally:
            self._write(scorer, pending)

    def holdings(self, scorer: str | None = None, version: str | None = None) -> list[Holding]:
        """Return the number of texts and the range of dates (UTC) by scorer and version."""
        with self.whole():
            rows = self.database.execute(
                "SELECT scorer, version, count(DISTINCT text), min(scored_at), max(scored_at) FROM scores "
                "WHERE scorer = coalesce(?, scorer) AND version = coalesce(?, version) GROUP BY 1, 2 ORDER BY 1, 2",
                (scorer, version),
            )
            return [Holding(*row) for row in rows]

    def _read(self, scorer: Scorer, keys: Sequence[bytes]) -> dict[bytes, tuple[float, ...]]:
        """Return the scores of the texts that have all attributes, by their keys."""
        select = "SELECT attribute, value FROM scores WHERE scorer = ? AND version = ? AND text = ?"
        scores = {}
        for key in keys:
            row = dict(self.database.execute(select, (scorer.name, scorer.version, key)).fetchall())
            if row.keys() >= set(scorer.attributes):
                scores[key] = values = tuple(row[attribute] for attribute in scorer.attributes)
                if not all(isinstance(value, float) and math.isfinite(value) for value in values):
                    raise self.damaged(f"the score of a text by {scorer.name} is {values}")
        return scores

    def _write(self, scorer: Scorer, answers: Sequence[tuple[bytes, Answer]]) -> None:
        """Write answers under their keys, all in one transaction."""
        if not answers:
            return
        scores, errors = [], []
        for key, answer in answers:
            if isinstance(answer, str):
                errors.append((scorer.name, scorer.version, key, answer))
            elif not all(map(math.isfinite, answer)):
                errors.append((scorer.name, scorer.version, key, "the scorer's answer is not a finite number"))
            else:
                named = zip(scorer.attributes, answer, strict=True)
                scores += [(scorer.name, scorer.version, key, *pair) for pair in named]
        into = "INTO {} (scorer, version, text, {}) VALUES (?, ?, ?, {})"
        with transaction(self.database):
            self.database.executemany("INSERT OR REPLACE " + into.format("scores", "attribute, value", "?, ?"), scores)
            self.database.executemany("INSERT " + into.format("errors", "message", "?"), errors)

    def _last_error(self, scorer: Scorer) -> str:
        row = self.database.execute(
            "SELECT message FROM errors WHERE scorer = ? AND version = ? ORDER BY rowid DESC LIMIT 1",
            (scorer.name, scorer.version),
        ).fetchone()
        return row[0] if row else "none was recorded"

    def _other_versions(self, scorer: Scorer) -> str:
        """List the versions in the store if it lacks this one: scores of different versions are not mixed."""
        holdings = self.holdings(scorer.name)
        if not holdings or any(holding.version == scorer.version for holding in holdings):
            return ""
        return "; the store only has other versions: " + ", ".join(
            f"{one.version} ({one.texts} texts)" for one in holdings
        )
