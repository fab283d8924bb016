"""Labelled texts in parquet: read, checked, split and drawn.

Columns are id, text, prompt where the texts answer or continue one, and labels in [-1, 1]: `label`, or several columns
named after dimensions, of which a text may lack some (NaN).
"""

import hashlib
import unicodedata
from bisect import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lm_steer.data.examples import examples
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import read_jsonl, replacing
from lm_steer.util.formats import read_csv, read_parquet, require_columns
from lm_steer.util.options import MOST
from lm_steer.util.outputs import DATA

if TYPE_CHECKING:
    from torch import Tensor


SPLITS = ("train", "dev", "test")
LABEL = ("label",)
FORMATS: dict[str, Callable[[str | Path], pd.DataFrame]] = {
    ".csv": read_csv,
    ".jsonl": lambda name: pd.DataFrame(read_jsonl(name)),
    ".parquet": read_parquet,
}


def counts(frame: pd.DataFrame) -> dict[str, int]:
    """Count texts, signs of all labels together and splits, for the report."""
    labels, split = frame.drop(columns=["id", "prompt", "text", "split"], errors="ignore"), split_of(frame)
    which = {"negative": labels < 0, "neutral": labels == 0, "positive": labels > 0}
    which |= {name: split == name for name in SPLITS}
    return {"texts": len(frame)} | {name: int(each.to_numpy().sum()) for name, each in which.items()}


def unseen_pairs(frame: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """Return the pairs of attributes that no text has, as `formality above 0 with sentiment below 0`.

    What such a pair of values does is never learned together, only as the sum of both.
    """
    sides = {"above": 1, "below": -1}
    return [
        f"{one} {side} 0 with {other} {its} 0"
        for (one, other), (side, its) in product(combinations(labels, 2), product(sides, repeat=2))
        if not ((frame[one] * sides[side] > 0) & (frame[other] * sides[its] > 0)).any()
    ]


def read_texts(path: str | Path) -> pd.DataFrame:
    """Read labelled texts (id, text, label); LMSteerError where a column is missing or a label out of range."""
    return checked_texts(read_parquet(path), str(path))


def first_texts(frame: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the `count` texts of the lowest hashes, so that fewer are part of more; LMSteerError if too few."""
    if count > len(frame):
        raise LMSteerError(f"requested {count} training texts, only {len(frame)} available: lower --count, or `texts`")
    return frame.loc[keys_of(frame).sort_values(kind="stable").index[:count]]


def drawn(count: int, steps: int, batch_size: int, seed: int) -> "Tensor":
    """Return which of `count` texts each step sees, (steps, batch): one shuffle of all texts after another."""
    import torch

    generator, needed = torch.Generator().manual_seed(seed), steps * batch_size
    if needed > MOST:
        raise LMSteerError(f"steps × batch_size is {needed:,}, more than {MOST:,}: lower one of them")
    shuffles = [torch.randperm(count, generator=generator) for _ in range(-(-needed // count))]
    return torch.cat(shuffles)[:needed].view(steps, batch_size)


def read_table(
    path: str | Path, text: str = "text", labels: Sequence[str] = LABEL, classes: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Read a user's .csv, .jsonl or .parquet of any shape (examples.py), its texts from the column named.

    classes     what values of the labels count as; rows that have none of them are left out

    Raises LMSteerError where the file is missing or unreadable, lacks a column, a label is out of range, or a text has
    two labels.
    """
    frame = read_frame(path)
    if text != "text":
        require_columns(frame, [text], str(path))
    frame = examples(frame, str(path), text)
    if classes:
        frame = _classified(frame, str(path), labels, classes)
    frame = checked_texts(frame, str(path), labels)
    # Datasets of the field are used as they were released.
    if not (Path(path).parent / DATA[0]).exists():
        require_agreement(frame, str(path), labels)
    return frame


def _classified(frame: pd.DataFrame, origin: str, labels: Sequence[str], classes: Mapping[str, float]) -> pd.DataFrame:
    """Return the rows with a label among the classes, as the numbers these count as."""
    require_columns(frame, labels, origin)
    given = frame[list(labels)]
    read = given.map(str).map(classes.get).fillna(given.map(_class_name).map(classes.get)).astype(float)
    if read.isna().all(axis=None):
        found = sorted({str(value) for name in labels for value in frame[name]})
        raise LMSteerError(f"{origin}: no label is one of {', '.join(classes)}: there are {', '.join(found)[:200]}")
    kept = read.notna().any(axis=1)
    return frame.assign(**read)[kept].reset_index(drop=True)


def _class_name(value: Any) -> str:
    """Return a value without the point that whole numbers have in a column with gaps: the class of 1.0 is 1 as well."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def read_frame(path: str | Path) -> pd.DataFrame:
    """Read a user's .csv, .jsonl or .parquet; LMSteerError where it is missing, unreadable or empty."""
    reader = FORMATS.get(Path(path).suffix)
    if reader is None:
        raise LMSteerError(f"{path}: expected one of {', '.join(FORMATS)}")
    frame = reader(path)
    if frame.empty:
        raise LMSteerError(f"{path} holds no texts")
    return frame


def hold_out(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split texts in nine tenths and one (at least one text), by their letters alone: the same texts, the same split.

    Copies of a text fall on the same side, and so do all answers to a prompt. Raises LMSteerError where there are not
    two different texts, or prompts.
    """
    keys = _split_keys(frame)
    ordered = sorted(set(keys))
    if len(ordered) < 2:
        raise LMSteerError("training needs at least two different texts, one of them for the dev loss: add texts")
    held = keys.isin(ordered[: max(1, len(ordered) // 10)])
    return frame[~held], frame[held]


def checked_texts(frame: pd.DataFrame, origin: str, labels: Sequence[str] = LABEL) -> pd.DataFrame:
    """Return `frame` if it has texts with labels in [-1, 1] in these columns, numbers afterwards.

    Of several labels a text may lack some, but not all. Raises LMSteerError naming the column or the row otherwise.
    """
    require_columns(frame, ("text", *labels), origin)
    if wrong := [name for name in labels if name in ("prompt", "text") or [*labels].count(name) > 1]:
        raise LMSteerError(f"{origin}: the column '{wrong[0]}' holds texts or is named twice: choose others for labels")
    require_texts(frame["text"], origin)
    read = {name: _numbers(frame[name], f"{origin}, row", name, len(labels) > 1) for name in labels}
    frame = frame.assign(**read)
    unlabelled = frame[list(labels)].isna().all(axis=1).to_numpy()
    if unlabelled.any():
        raise LMSteerError(f"{origin}, row {int(unlabelled.argmax()) + 1}: the text has no label")
    return frame


def require_texts(texts: Iterable[Any], origin: str) -> None:
    """Raise LMSteerError naming the row of what is empty or not text."""
    for number, words in enumerate(texts, start=1):
        if not isinstance(words, str) or not words.strip():
            raise LMSteerError(f"{origin}, row {number}: the text is empty or not text")


def _numbers(found: pd.Series, place: str, name: str, gaps: bool) -> pd.Series:
    # A truth value says nothing of which label false is: 0, or -1.
    is_bool = found.map(lambda value: isinstance(value, bool | np.bool_))
    labels = pd.to_numeric(found.mask(is_bool), errors="coerce").astype(float)
    empty = (found.isna() | found.isin(["", "NaN", "nan"])) if gaps else pd.Series(False, found.index)
    for number, (value, lacking) in enumerate(zip(labels, empty, strict=True), start=1):
        if not (lacking or -1 <= value <= 1):
            raise LMSteerError(f"{place} {number}: {name} {found.tolist()[number - 1]!r} is not a number in [-1, 1]")
    return labels


def require_agreement(frame: pd.DataFrame, origin: str, labels: Sequence[str] = LABEL) -> None:
    """Raise LMSteerError where the same text, but for case and punctuation, has several labels after one prompt."""
    keys = keys_of(frame)
    for name in labels:
        groups = frame[name].groupby(keys, sort=False)
        wrong = np.flatnonzero((groups.transform("min") != groups.transform("max")).to_numpy() & frame[name].notna())
        if not len(wrong):
            continue
        rows = [int(at) for at in wrong if keys.iloc[at] == keys.iloc[wrong[0]]][:2]
        first, second = (f"{frame[name].iloc[at]:g} in row {at + 1}" for at in rows)
        raise LMSteerError(
            f"{origin}: the same text has the {name} {first} and {second} ({frame['text'].iloc[wrong[0]][:40]!r}; "
            f"{len(wrong)} rows contradict each other, letter case and punctuation aside): keep one label of each text"
        )


def write_splits(frame: pd.DataFrame, folder: str | Path) -> None:
    """Write texts into {train,dev,test}.parquet, always alike."""
    split = split_of(frame)
    for name in SPLITS:
        with replacing(Path(folder) / f"{name}.parquet") as temporary:
            frame.loc[split == name].drop(columns="split", errors="ignore").reset_index(drop=True).to_parquet(temporary)


def split_of(frame: pd.DataFrame) -> pd.Series:
    """Return each text's split: its column `split`, or by a hash of the text, or its prompt (60, 10, 30 per cent)."""
    if "split" in frame:
        if len(wrong := frame["split"][~frame["split"].isin(SPLITS)]):
            raise LMSteerError(
                f"the column 'split' holds {wrong.iloc[0]!r:.40}: expected {', '.join(SPLITS)} in each row, or no such "
                "column"
            )
        return frame["split"]
    return _split_keys(frame).map(lambda key: SPLITS[bisect((6, 7), int(key[:8], 16) % 10)])


def keys_of(frame: pd.DataFrame) -> pd.Series:
    """Name each text, with its prompt where it has one, by its letters and digits."""
    return (frame["prompt"] + "\n" + frame["text"] if "prompt" in frame else frame["text"]).map(text_key)


def _split_keys(frame: pd.DataFrame) -> pd.Series:
    """Name what must not fall apart: a text, or all answers to a prompt."""
    return (
        frame["prompt"].where(frame["prompt"] != "", frame["text"]).map(text_key)
        if "prompt" in frame
        else keys_of(frame)
    )


def plain(text: str) -> str:
    """Return the letters and digits of a text alone, so that casing and punctuation do not hide an overlap."""
    return "".join(char for char in unicodedata.normalize("NFKD", text).casefold() if char.isalnum())


def text_key(text: str) -> str:
    """Name a text by its letters and digits, or by all of it where it has none, as emoji."""
    return hashlib.sha256((plain(text) or text).encode()).hexdigest()
