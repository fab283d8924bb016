"""Scores are kept by text and asked once: an sqlite file that every scorer writes to as its answers arrive.

A score is kept under (scorer, version, sha256 of the exact text, attribute) with the time it was made; an error is
kept in a table of its own and never counts as a score. A scoring that was killed goes on from its last answer.
"""

import hashlib
import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
# Its name in a cache folder.
STORE = "scores.sqlite"
AGAIN = "run again to go on from there"
# Seconds that answers may wait to be written: a model's block is one write, a service's answer each its own.
EVERY = 0.5
# A score (one value an attribute), or why there is none.
Answer = tuple[float, ...] | str
# The number of an item, and its score.
Scores = Iterator[tuple[int, tuple[float, ...]]]


@dataclass(frozen=True)
class Item:
    """What is judged: a prompt and one continuation of it."""

    prompt: str
    continuation: str


@dataclass(frozen=True)
class Scorer:
    """A judge of texts with a name and a version.

    text        turns an item into the exact text that is judged, and that its score is kept under
    judge       yields (index into the items, one value an attribute) as answers arrive, or (index, error message)
    advice      what to do about texts that have no score in the end
    """

    name: str
    version: str
    attributes: tuple[str, ...]
    text: Callable[[Item], str]
    judge: Callable[[Sequence[Item]], Iterable[tuple[int, Answer]]]
    advice: str = AGAIN


@dataclass(frozen=True)
class Holding:
    """How many texts the store has scores of, by one version of a scorer, and from when to when they were made."""

    scorer: str
    version: str
    texts: int
    first: str
    last: str


def continuation(item: Item) -> str:
    """Return the text that toxicity is judged on: the continuation alone, an empty one as a line break."""
    return item.continuation or "\n"


def whole(item: Item) -> str:
    """Return the text that sentiment is judged on: prompt and continuation."""
    return item.prompt + item.continuation


def exact_key(text: str) -> bytes:
    """Return what a text is kept under."""
    return hashlib.sha256(text.encode()).digest()


class ScoreStore:
    """The sqlite file of scores."""

    def __init__(self, path: str | Path) -> None:
        self.path = path
        with self.whole():
            self.database = open_database(path)
            self.database.executescript(SCHEMA)

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Name the file where it fails inside the block, and how to save its scores where it turns out damaged."""
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
            f"{self.path} is damaged ({reason}), and its scores may have been paid for: save what is left by "
            f"`sqlite3 {self.path} .recover | sqlite3 {self.path}.new`, or move it away to score again"
        )

    def scores(self, scorer: Scorer, items: Sequence[Item]) -> list[tuple[float, ...]]:
        """Return each item's scores, one value an attribute, judging those the store lacks.

        Raises LMSteerError with their number where some could not be scored; what was scored is kept.
        """
        keys = [exact_key(scorer.text(item)) for item in items]
        item_of = dict(reversed([*zip(keys, items, strict=True)]))
        unique = list(dict.fromkeys(keys))
        with self.whole():
            kept = self._read(scorer, unique)
            missing = [key for key in unique if key not in kept]
            with Progress(f"score {scorer.name}", len(unique), "text") as progress:
                progress.skip(len(kept))
                self._judge(scorer, missing, [item_of[key] for key in missing], progress)
            kept |= self._read(scorer, missing)
            if len(kept) < len(unique):
                raise LMSteerError(
                    f"{len(unique) - len(kept)} of {len(unique)} texts have no score by {scorer.name} {scorer.version} "
                    f"(the last error: {self._last_error(scorer)}){self._other_versions(scorer)}; {scorer.advice}"
                )
        return [kept[key] for key in keys]

    def _judge(self, scorer: Scorer, keys: list[bytes], items: list[Item], progress: Progress) -> None:
        """Write the answers to items, by their keys, as they arrive."""
        waiting: list[tuple[bytes, Answer]] = []
        written = time.monotonic()
        try:
            for index, answer in scorer.judge(items):
                waiting.append((keys[index], answer))
                if time.monotonic() - written >= EVERY:
                    # Taken out first: what cannot be written is not tried a second time below.
                    block, waiting = waiting, []
                    self._write(scorer, block)
                    written = time.monotonic()
                progress.advance()
        finally:
            self._write(scorer, waiting)

    def holdings(self, scorer: str | None = None, version: str | None = None) -> list[Holding]:
        """Return what the store has, by scorer and version: how many texts, and the range of dates (UTC)."""
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
        found = {}
        for key in keys:
            row = dict(self.database.execute(select, (scorer.name, scorer.version, key)).fetchall())
            if row.keys() >= set(scorer.attributes):
                found[key] = values = tuple(row[attribute] for attribute in scorer.attributes)
                if not all(isinstance(value, float) and math.isfinite(value) for value in values):
                    raise self.damaged(f"the score of a text by {scorer.name} is {values}")
        return found

    def _write(self, scorer: Scorer, answers: Sequence[tuple[bytes, Answer]]) -> None:
        """Keep answers to texts, by their keys, all in one transaction; none where there is nothing to keep."""
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
        """Say which other versions the store has, where it has none of this one: versions are not mixed."""
        held = self.holdings(scorer.name)
        if not held or any(holding.version == scorer.version for holding in held):
            return ""
        return "; the store has other versions only: " + ", ".join(f"{one.version} ({one.texts} texts)" for one in held)
