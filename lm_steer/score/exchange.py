"""Export and import of scores as JSON lines, to replay a service's scores after it has ended.

    lm-steer store export --scorer perspective -o perspective.jsonl
    lm-steer store import perspective.jsonl

One line per score: {"scorer", "version", "sha256" (of the exact text), "attribute", "value", "scored_at" (UTC)}, and
"text" if it is known. An import never changes a score that the store has.
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
from lm_steer.util.options import Label, check_as
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
    """Write scores as JSON lines, sorted by scorer, version, text and attribute, and return how many.

    The store has only the sha256 of a text; texts that occur in the generation files `files` are written as well.
    """
    texts = dict(_texts(files))
    holdings = store.holdings(scorer, version)
    if not holdings:
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
    for one in holdings:
        say(f"{one.scorer} {one.version}: {one.texts} texts, scored {one.first[:10]} to {one.last[:10]}")
    return len(rows)


def import_scores(store: ScoreStore, path: str | Path) -> int:
    """Import the scores of a JSON lines file, all or none, and return how many are new.

    Raises LMSteerError naming the line of a malformed score, or of one that differs from the store's.
    """
    new = number = 0
    database = store.database
    with store.whole(), transaction(database):
        for number, line in numbered_jsonl(path, LINE):
            row = _row(line, f"{path}, line {number}")
            stored = database.execute(
                "SELECT value FROM scores WHERE scorer = ? AND version = ? AND text = ? AND attribute = ?", row[:4]
            ).fetchone()
            if stored and stored[0] != row[4]:
                raise LMSteerError(
                    f"{path}, line {number}: {row[0]} {row[1]} has {row[3]} {row[4]} for the text "
                    f"{row[2].hex()[:12]}…, but the store has {stored[0]}: nothing was imported; give these scores a "
                    "version of their own, or use another store (--cache)"
                )
            if not stored:
                database.execute("INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?)", row)
                new += 1
        if not number:
            raise LMSteerError(f"{path} is empty: expected one score per line")
    say(f"imported {new} new scores from {path}")
    return new


def _texts(files: Sequence[str]) -> Iterator[tuple[bytes, str]]:
    """Yield (store key, text) for the texts of generation files that toxicity and sentiment are judged on."""
    for file in files:
        for prompt, samples in zip(*read_generations(file), strict=True):
            for sample in samples:
                for text in (continuation(Item(prompt, sample)), whole(Item(prompt, sample))):
                    yield exact_key(text), text


def _row(line: dict[str, Any], place: str) -> Row:
    """Check one line and return it as a row of the store."""
    row = line["scorer"], line["version"], _key(line, place), line["attribute"], float(line["value"])
    try:
        check_as(Label, scorer=row[0], version=row[1], attribute=row[3])
    except LMSteerError as error:
        raise LMSteerError(f"{place}: {error}") from None
    try:
        moment = datetime.fromisoformat(line["scored_at"])
        moment = moment.astimezone(UTC) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        raise LMSteerError(
            f"{place}: expected 'scored_at' as a time such as 2026-11-23 09:30:00, found {line['scored_at']!r}"
        ) from None
    # As sqlite writes it, in UTC.
    return *row, moment.strftime("%Y-%m-%d %H:%M:%S")


def _key(line: dict[str, Any], place: str) -> bytes:
    """Return the store key of a line, which has the sha256, the text, or both."""
    text, digest = line.get("text"), line.get("sha256")
    if text is None and digest is None:
        raise LMSteerError(f"{place}: expected 'sha256' or 'text', found neither")
    if not isinstance(text, str | None):
        raise LMSteerError(f"{place}: expected 'text' as a string, found {text!r}")
    if digest is None:
        return exact_key(str(text))
    if not (isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)):
        raise LMSteerError(f"{place}: expected 'sha256' as 64 hexadecimal digits, found {digest!r}")
    if text is not None and exact_key(text).hex() != digest:
        raise LMSteerError(f"{place}: 'sha256' does not match 'text': the file was edited")
    return bytes.fromhex(digest)
