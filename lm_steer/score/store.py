"""Scores are kept by text and asked once: an sqlite file that every scorer writes to as its answers arrive.

A score is kept under (scorer, version, sha256 of the exact text, attribute) with the time it was made; an error is
kept in a table of its own and never counts as a score. A scoring that was killed goes on from its last answer.
"""

import hashlib
import math
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lm_steer.errors import LMSteerError
from lm_steer.progress import Progress

SCHEMA = """
CREATE TABLE IF NOT EXISTS scores (
    scorer TEXT, version TEXT, text BLOB, attribute TEXT, value REAL NOT NULL,
    scored_at TEXT DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (scorer, version, text, attribute)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS errors (
    scorer TEXT, version TEXT, text BLOB, message TEXT NOT NULL, happened_at TEXT DEFAULT CURRENT_TIMESTAMP);
"""


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
    """

    name: str
    version: str
    attributes: tuple[str, ...]
    text: Callable[[Item], str]
    judge: Callable[[Sequence[Item]], Iterable[tuple[int, tuple[float, ...] | str]]]


class ScoreStore:
    """The sqlite file of scores."""

    def __init__(self, path: str | Path) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.database = sqlite3.connect(path, timeout=60, isolation_level=None)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.executescript(SCHEMA)

    def scores(self, scorer: Scorer, items: Sequence[Item]) -> list[tuple[float, ...]]:
        """Return each item's scores, one value an attribute, judging those the store lacks.

        Raises LMSteerError with their number where some could not be scored; what was scored is kept.
        """
        keys = [hashlib.sha256(scorer.text(item).encode()).digest() for item in items]
        first = dict(reversed([(key, item) for key, item in zip(keys, items, strict=True)]))
        unique = list(dict.fromkeys(keys))
        missing = [key for key in unique if self._read(scorer, key) is None]
        with Progress(f"score {scorer.name}", len(unique), "text") as progress:
            progress.skip(len(unique) - len(missing))
            for index, answer in scorer.judge([first[key] for key in missing]):
                self._write(scorer, missing[index], answer)
                progress.advance()
        found = {key: self._read(scorer, key) for key in unique}
        lacking = [key for key, values in found.items() if values is None]
        if lacking:
            raise LMSteerError(
                f"{len(lacking)} of {len(unique)} texts have no score by {scorer.name} "
                f"(the last error: {self._last_error(scorer)}); run again to go on from there"
            )
        return [found[key] for key in keys]  # type: ignore[misc]

    def _read(self, scorer: Scorer, key: bytes) -> tuple[float, ...] | None:
        rows = dict(
            self.database.execute(
                "SELECT attribute, value FROM scores WHERE scorer = ? AND version = ? AND text = ?",
                (scorer.name, scorer.version, key),
            ).fetchall()
        )
        if any(attribute not in rows for attribute in scorer.attributes):
            return None
        return tuple(rows[attribute] for attribute in scorer.attributes)

    def _write(self, scorer: Scorer, key: bytes, answer: tuple[float, ...] | str) -> None:
        if not isinstance(answer, str) and any(math.isnan(value) for value in answer):
            answer = "the scorer's answer is not a number"
        if isinstance(answer, str):
            self.database.execute(
                "INSERT INTO errors (scorer, version, text, message) VALUES (?, ?, ?, ?)",
                (scorer.name, scorer.version, key, answer),
            )
            return
        rows = [
            (scorer.name, scorer.version, key, attribute, value)
            for attribute, value in zip(scorer.attributes, answer, strict=True)
        ]
        self.database.executemany(
            "INSERT OR REPLACE INTO scores (scorer, version, text, attribute, value) VALUES (?, ?, ?, ?, ?)",
            rows,
        )

    def _last_error(self, scorer: Scorer) -> str:
        row = self.database.execute(
            "SELECT message FROM errors WHERE scorer = ? AND version = ? ORDER BY rowid DESC LIMIT 1",
            (scorer.name, scorer.version),
        ).fetchone()
        return row[0] if row else "none was recorded"
