"""Scores passed on as JSON lines, so that what a service once said can be replayed when the service is gone.

    lm-steer store export --scorer perspective -o perspective.jsonl
    lm-steer store import perspective.jsonl

One line per score: {"scorer", "version", "sha256" (of the exact text), "attribute", "value", "scored_at" (UTC)}, and
"text" where it is known. A score that is there already is never changed.
"""

import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lm_steer.data.prompt_files import read_generations
from lm_steer.score.store import Item, ScoreStore, continuation, exact_key, whole
from lm_steer.util.database import transaction
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import numbered_jsonl, write_jsonl
from lm_steer.util.progress import say

Row = tuple[str, str, bytes, str, float, str]

LINE = {"scorer": str, "version": str, "attribute": str, "value": int | float, "scored_at": str}


def export_scores(
    store: ScoreStore,
    path: str | Path,
    scorer: str | None = None,
    version: str | None = None,
    files: Sequence[str] = (),
) -> int:
    """Write scores as JSON lines, in an order of their own, and return how many.

    The store knows texts by their sha256 alone: those of the generation files `files` are written out beside it.
    """
    texts = dict(_texts(files))
    held = store.holdings(scorer, version)
    if not held:
        wanted = " ".join(filter(None, (scorer or "any scorer", version)))
        has = "; ".join(f"{one.scorer} {one.version}" for one in store.holdings()) or "nothing yet"
        raise LMSteerError(f"the store has no scores by {wanted}: it has {has}")
    with store.whole():
        rows = store.database.execute(
            "SELECT scorer, version, text, attribute, value, scored_at FROM scores "
            "WHERE scorer = coalesce(?, scorer) AND version = coalesce(?, version) ORDER BY 1, 2, 3, 4",
            (scorer, version),
        ).fetchall()
    for row in rows:
        if [*map(type, row)] != [str, str, bytes, str, float, str] or not math.isfinite(row[4]):
            raise store.damaged(f"the score of a text by {row[0]} is {row[4]!r}, of {row[5]!r}")
    lines = (
        {"scorer": name, "version": of, "sha256": key.hex(), **({"text": texts[key]} if key in texts else {})}
        | {"attribute": attribute, "value": value, "scored_at": scored_at}
        for name, of, key, attribute, value, scored_at in rows
    )
    write_jsonl(path, lines)
    for one in held:
        say(f"{one.scorer} {one.version}: {one.texts} texts, scored {one.first[:10]} to {one.last[:10]}")
    return len(rows)


def import_scores(store: ScoreStore, path: str | Path) -> int:
    """Take the scores of a JSON lines file into the store, all or none, and return how many are new.

    Raises LMSteerError naming the line of a score that is not one, or that the store has with another value.
    """
    new = number = 0
    database = store.database
    with store.whole(), transaction(database):
        for number, line in numbered_jsonl(path, LINE):
            row = _row(line, f"{path}, line {number}")
            kept = database.execute(
                "SELECT value FROM scores WHERE scorer = ? AND version = ? AND text = ? AND attribute = ?", row[:4]
            ).fetchone()
            if kept and kept[0] != row[4]:
                raise LMSteerError(
                    f"{path}, line {number}: {row[0]} {row[1]} has {row[3]} {row[4]} for the text "
                    f"{row[2].hex()[:12]}…, the store {kept[0]}: nothing was imported; give the scores a version of "
                    "their own, or take another store (--cache)"
                )
            if not kept:
                database.execute("INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?)", row)
                new += 1
        if not number:
            raise LMSteerError(f"{path} is empty: expected a score on each line")
    say(f"{new} new scores of {path}")
    return new


def _texts(files: Sequence[str]) -> Iterator[tuple[bytes, str]]:
    """Yield what toxicity and sentiment are judged on in generation files, by the key it is kept under."""
    for file in files:
        for prompt, samples in zip(*read_generations(file), strict=True):
            for sample in samples:
                for text in (continuation(Item(prompt, sample)), whole(Item(prompt, sample))):
                    yield exact_key(text), text


def _row(line: dict[str, Any], place: str) -> Row:
    """Check one line and return it as the store has it."""
    row = line["scorer"], line["version"], _key(line, place), line["attribute"], float(line["value"])
    if "" in row:
        raise LMSteerError(f"{place}: the scorer, its version or the attribute has no name")
    try:
        moment = datetime.fromisoformat(line["scored_at"])
        moment = moment.astimezone(UTC) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        raise LMSteerError(
            f"{place}: 'scored_at' is not a time such as 2026-11-23 09:30:00: {line['scored_at']!r}"
        ) from None
    # As sqlite writes it, in UTC.
    return *row, moment.strftime("%Y-%m-%d %H:%M:%S")


def _key(line: dict[str, Any], place: str) -> bytes:
    """Return the key of a line's text, given by its sha256, by itself, or by both."""
    text, digest = line.get("text"), line.get("sha256")
    if text is None and digest is None:
        raise LMSteerError(f"{place}: neither 'sha256' nor 'text' is given")
    if not isinstance(text, str | None):
        raise LMSteerError(f"{place}: 'text' is not text: {text!r}")
    if digest is None:
        return exact_key(str(text))
    if not (isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)):
        raise LMSteerError(f"{place}: 'sha256' is not 64 hexadecimal digits: {digest!r}")
    if text is not None and exact_key(text).hex() != digest:
        raise LMSteerError(f"{place}: 'sha256' is not that of 'text': the file was changed")
    return bytes.fromhex(digest)
