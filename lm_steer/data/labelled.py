"""Labelled texts, (id, text, label in [-1, 1]) in parquet: read, checked, split and drawn."""

import hashlib
import unicodedata
from bisect import bisect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import read_jsonl, replacing
from lm_steer.util.formats import read_csv, read_parquet, require_columns
from lm_steer.util.options import MOST
from lm_steer.util.outputs import DATA

if TYPE_CHECKING:
    from torch import Tensor


SPLITS = ("train", "dev", "test")


def counts(frame: pd.DataFrame) -> dict[str, int]:
    """Count texts, signs of labels and splits, for the report."""
    labels, split = frame["label"], split_of(frame)
    return {
        "texts": len(frame),
        "negative": int((labels < 0).sum()),
        "neutral": int((labels == 0).sum()),
        "positive": int((labels > 0).sum()),
        **{name: int((split == name).sum()) for name in SPLITS},
    }


def read_texts(path: str | Path) -> pd.DataFrame:
    """Read labelled texts (id, text, label); LMSteerError where a column is missing or a label out of range."""
    return checked_texts(read_parquet(path), str(path))


def first_texts(frame: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the `count` texts of the lowest hashes, so that fewer are part of more; LMSteerError if too few."""
    if count > len(frame):
        raise LMSteerError(
            f"requested {count} training texts, only {len(frame)} available: lower --count, or the key texts"
        )
    return frame.loc[frame["text"].map(text_key).sort_values(kind="stable").index[:count]]


def drawn(count: int, steps: int, batch_size: int, seed: int) -> "Tensor":
    """Return which of `count` texts each step sees, (steps, batch): one shuffle of all texts after another."""
    import torch

    generator, needed = torch.Generator().manual_seed(seed), steps * batch_size
    if needed > MOST:
        raise LMSteerError(f"steps × batch_size is {needed:,}, more than {MOST:,}: lower one of them")
    shuffles = [torch.randperm(count, generator=generator) for _ in range(-(-needed // count))]
    return torch.cat(shuffles)[:needed].view(steps, batch_size)


def read_table(path: str | Path, text: str = "text", label: str = "label") -> pd.DataFrame:
    """Read a user's .csv, .jsonl or .parquet and return it with the columns text and label, taken from those named.

    Raises LMSteerError where the file is missing or unreadable, lacks a column, a label is out of range, or a text has
    two labels.
    """
    frame = checked_texts(read_frame(path), str(path), text, label)
    # Datasets of the field are used as they were released.
    if not (Path(path).parent / DATA[0]).exists():
        require_agreement(frame, str(path))
    return frame


def read_frame(path: str | Path) -> pd.DataFrame:
    """Read a user's .csv, .jsonl or .parquet; LMSteerError where it is missing, unreadable or empty."""
    readers: dict[str, Callable[[str | Path], pd.DataFrame]] = {
        ".csv": read_csv,
        ".jsonl": lambda name: pd.DataFrame(read_jsonl(name)),
        ".parquet": read_parquet,
    }
    reader = readers.get(Path(path).suffix)
    if reader is None:
        raise LMSteerError(f"{path}: expected one of {', '.join(readers)}")
    frame = reader(path)
    if frame.empty:
        raise LMSteerError(f"{path} holds no texts")
    return frame


def hold_out(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split texts in nine tenths and one (at least one text), by their letters alone: the same texts, the same split.

    Copies of a text fall on the same side. Raises LMSteerError where there are not two different texts.
    """
    keys = frame["text"].map(text_key)
    ordered = sorted(set(keys))
    if len(ordered) < 2:
        raise LMSteerError("training needs at least two different texts, one of them for the dev loss: add texts")
    held = keys.isin(ordered[: max(1, len(ordered) // 10)])
    return frame[~held], frame[held]


def checked_texts(frame: pd.DataFrame, origin: str, text: str = "text", label: str = "label") -> pd.DataFrame:
    """Return `frame` if it has texts with labels in [-1, 1], in the columns named, as the columns text and label.

    Raises LMSteerError naming the column or the row otherwise.
    """
    require_columns(frame, (text, label), origin)
    frame = frame.assign(text=frame[text], label=frame[label])
    # A truth value says nothing of which label false is: 0, or -1.
    is_bool = frame["label"].map(lambda value: isinstance(value, bool | np.bool_))
    labels = pd.to_numeric(frame["label"].mask(is_bool), errors="coerce").astype(float)
    for number, (words, value) in enumerate(zip(frame["text"], labels, strict=True), start=1):
        if not isinstance(words, str) or not words.strip():
            raise LMSteerError(f"{origin}, row {number}: the text is empty or not text")
        if not -1 <= value <= 1:
            found = frame["label"].tolist()[number - 1]
            raise LMSteerError(f"{origin}, row {number}: label {found!r} is not a number in [-1, 1]")
    return frame.assign(label=labels)


def require_agreement(frame: pd.DataFrame, origin: str) -> None:
    """Raise LMSteerError where the same text, but for case and punctuation, has several labels."""
    labels = frame.groupby(frame["text"].map(text_key), sort=False)["label"]
    wrong = np.flatnonzero((labels.transform("min") != labels.transform("max")).to_numpy())
    if len(wrong):
        text = frame["text"].iloc[wrong[0]]
        rows = [int(at) for at in wrong if text_key(frame["text"].iloc[at]) == text_key(text)][:2]
        first, second = (f"{frame['label'].iloc[at]:g} in row {at + 1}" for at in rows)
        raise LMSteerError(
            f"{origin}: the same text has the label {first} and {second} ({text[:40]!r}; {len(wrong)} rows contradict "
            "each other, letter case and punctuation aside): keep one label of each text"
        )


def write_splits(frame: pd.DataFrame, folder: str | Path) -> None:
    """Write texts into {train,dev,test}.parquet, always alike."""
    split = split_of(frame)
    for name in SPLITS:
        with replacing(Path(folder) / f"{name}.parquet") as temporary:
            frame.loc[split == name, ["id", "text", "label"]].reset_index(drop=True).to_parquet(temporary)


def split_of(frame: pd.DataFrame) -> pd.Series:
    """Return each text's split: its column `split`, or by a hash of the text (60, 10 and 30 per cent)."""
    if "split" in frame:
        return frame["split"]
    return frame["text"].map(lambda text: SPLITS[bisect((6, 7), int(text_key(text)[:8], 16) % 10)])


def plain(text: str) -> str:
    """Return the letters and digits of a text alone, so that casing and punctuation do not hide an overlap."""
    return "".join(char for char in unicodedata.normalize("NFKD", text).casefold() if char.isalnum())


def text_key(text: str) -> str:
    """Name a text by its letters and digits, or by all of it where it has none, as emoji."""
    return hashlib.sha256((plain(text) or text).encode()).hexdigest()
