"""Read, check, split and sample labelled texts.

Columns are id, text, prompt if the texts answer or continue one, and labels in [-1, 1]: `label`, or several columns
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
    """Count texts, the signs of all labels, and splits, for the report."""
    labels, split = frame.drop(columns=["id", "prompt", "text", "split"], errors="ignore"), split_of(frame)
    which = {"negative": labels < 0, "neutral": labels == 0, "positive": labels > 0}
    which |= {name: split == name for name in SPLITS}
    return {"texts": len(frame)} | {name: int(each.to_numpy().sum()) for name, each in which.items()}


def unseen_pairs(frame: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """Return the pairs of attributes that no text combines, as `formality above 0 with sentiment below 0`.

    The joint effect of such a pair is never learned, only the sum of both effects.
    """
    sides = {"above": 1, "below": -1}
    return [
        f"{one} {side} 0 with {other} {other_side} 0"
        for (one, other), (side, other_side) in product(combinations(labels, 2), product(sides, repeat=2))
        if not ((frame[one] * sides[side] > 0) & (frame[other] * sides[other_side] > 0)).any()
    ]


def read_texts(path: str | Path) -> pd.DataFrame:
    """Read labelled texts (id, text, label); LMSteerError if a column is missing or a label out of range."""
    return checked_texts(read_parquet(path), str(path))


def first_texts(frame: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the `count` texts with the lowest hashes, so that fewer are part of more; LMSteerError if too few."""
    if count > len(frame):
        raise LMSteerError(f"requested {count} training texts, only {len(frame)} available: lower --count, or `texts`")
    return frame.loc[keys_of(frame).sort_values(kind="stable").index[:count]]


def drawn(count: int, steps: int, batch_size: int, seed: int) -> "Tensor":
    """Return the indices of the texts of each step, (steps, batch), from successive shuffles of `count` texts."""
    import torch

    generator, needed = torch.Generator().manual_seed(seed), steps * batch_size
    if needed > MOST:
        raise LMSteerError(f"steps × batch_size is {needed:,}, more than {MOST:,}: lower one of them")
    shuffles = [torch.randperm(count, generator=generator) for _ in range(-(-needed // count))]
    return torch.cat(shuffles)[:needed].view(steps, batch_size)


def read_table(
    path: str | Path, text: str = "text", labels: Sequence[str] = LABEL, classes: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Read a user's .csv, .jsonl or .parquet of any shape (examples.py), with its texts in the column `text`.

    classes     numbers for values of the labels; rows that have none of these values are left out

    Raises LMSteerError if the file is missing or unreadable, lacks a column, a label is out of range, or a text has two
    labels.
    """
    frame = read_frame(path)
    if text != "text":
        require_columns(frame, [text], str(path))
    frame = examples(frame, str(path), text)
    if classes:
        frame = _classified(frame, str(path), labels, classes)
    frame = checked_texts(frame, str(path), labels)
    # Published datasets are used as they were released.
    if not (Path(path).parent / DATA[0]).exists():
        require_agreement(frame, str(path), labels)
    return frame


def _classified(frame: pd.DataFrame, origin: str, labels: Sequence[str], classes: Mapping[str, float]) -> pd.DataFrame:
    """Return the rows with a label among the classes, with the classes' numbers as labels."""
    require_columns(frame, labels, origin)
    values = frame[list(labels)]
    numbers = values.map(str).map(classes.get).fillna(values.map(_class_name).map(classes.get)).astype(float)
    if numbers.isna().all(axis=None):
        listed = ", ".join(sorted({str(value) for name in labels for value in frame[name]}))
        raise LMSteerError(f"{origin}: expected one of the labels {', '.join(classes)}, found {listed[:200]}")
    return frame.assign(**numbers)[numbers.notna().any(axis=1)].reset_index(drop=True)


def _class_name(value: Any) -> str:
    """Return a value as text, whole numbers without the point that they get in a column with gaps."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def read_frame(path: str | Path) -> pd.DataFrame:
    """Read a user's .csv, .jsonl or .parquet; LMSteerError if it is missing, unreadable or empty."""
    reader = FORMATS.get(Path(path).suffix)
    if reader is None:
        raise LMSteerError(f"{path}: expected one of {', '.join(FORMATS)}")
    frame = reader(path)
    if frame.empty:
        raise LMSteerError(f"{path} holds no texts")
    return frame


def hold_out(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split texts into nine tenths and one tenth (at least one text) by a hash of their letters.

    Copies of a text are on the same side, and so are all answers to a prompt. Raises LMSteerError unless there are two
    different texts, or prompts.
    """
    keys = _split_keys(frame)
    ordered = sorted(set(keys))
    if len(ordered) < 2:
        raise LMSteerError("training needs at least two different texts, one of them for the dev loss: add texts")
    is_dev = keys.isin(ordered[: max(1, len(ordered) // 10)])
    return frame[~is_dev], frame[is_dev]


def checked_texts(frame: pd.DataFrame, origin: str, labels: Sequence[str] = LABEL) -> pd.DataFrame:
    """Return `frame` with its labels as numbers if it has texts with labels in [-1, 1] in these columns.

    Of several labels a text may lack some, but not all. Otherwise raises LMSteerError naming the column or the row.
    """
    require_columns(frame, ("text", *labels), origin)
    if wrong := [name for name in labels if name in ("prompt", "text") or [*labels].count(name) > 1]:
        raise LMSteerError(f"{origin}: the column '{wrong[0]}' holds texts or is named twice: choose others for labels")
    require_texts(frame["text"], origin)
    frame = frame.assign(**{name: _numbers(frame[name], origin, name, len(labels) > 1) for name in labels})
    unlabelled = frame[list(labels)].isna().all(axis=1).to_numpy()
    if unlabelled.any():
        raise LMSteerError(f"{origin}, row {int(unlabelled.argmax()) + 1}: the text has no label")
    return frame


def require_texts(texts: Iterable[Any], origin: str) -> None:
    """Raise LMSteerError naming the row of a text that is empty or not text."""
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str) or not text.strip():
            raise LMSteerError(f"{origin}, row {number}: expected text that is not empty, found {text!r:.80}")


def _numbers(column: pd.Series, origin: str, name: str, gaps: bool) -> pd.Series:
    # False may mean 0 or -1.
    is_bool = column.map(lambda value: isinstance(value, bool | np.bool_))
    labels = pd.to_numeric(column.mask(is_bool), errors="coerce").astype(float)
    empty = (column.isna() | column.isin(["", "NaN", "nan"])) if gaps else pd.Series(False, column.index)
    for number, (value, is_empty) in enumerate(zip(labels, empty, strict=True), start=1):
        if not (is_empty or -1 <= value <= 1):
            problem = f"expected a number in [-1, 1] as {name}, found {column.tolist()[number - 1]!r}"
            raise LMSteerError(f"{origin}, row {number}: {problem}")
    return labels


def require_agreement(frame: pd.DataFrame, origin: str, labels: Sequence[str] = LABEL) -> None:
    """Raise LMSteerError if a text, ignoring case and punctuation, has several labels after the same prompt."""
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
            f"{len(wrong)} rows contradict each other, ignoring case and punctuation): keep one label for each text"
        )


def write_splits(frame: pd.DataFrame, folder: str | Path) -> None:
    """Write texts to {train,dev,test}.parquet by a deterministic split."""
    split = split_of(frame)
    for name in SPLITS:
        with replacing(Path(folder) / f"{name}.parquet") as temporary:
            frame.loc[split == name].drop(columns="split", errors="ignore").reset_index(drop=True).to_parquet(temporary)


def split_of(frame: pd.DataFrame) -> pd.Series:
    """Return each text's split: its column `split`, or by a hash of its prompt or itself (60, 10, 30 per cent)."""
    if "split" in frame:
        if len(wrong := frame["split"][~frame["split"].isin(SPLITS)]):
            problem = f"expected {', '.join(SPLITS)}, found {wrong.iloc[0]!r:.40}"
            raise LMSteerError(f"the column 'split': {problem}: correct it, or leave the column out")
        return frame["split"]
    return _split_keys(frame).map(lambda key: SPLITS[bisect((6, 7), int(key[:8], 16) % 10)])


def keys_of(frame: pd.DataFrame) -> pd.Series:
    """Return a key for each text, with its prompt if it has one, from its letters and digits."""
    return (frame["prompt"] + "\n" + frame["text"] if "prompt" in frame else frame["text"]).map(text_key)


def _split_keys(frame: pd.DataFrame) -> pd.Series:
    """Return a key for what must not be split: a text, or all answers to a prompt."""
    if "prompt" not in frame:
        return keys_of(frame)
    return frame["prompt"].where(frame["prompt"] != "", frame["text"]).map(text_key)


def plain(text: str) -> str:
    """Return only the letters and digits of a text, so that case and punctuation do not hide an overlap."""
    return "".join(char for char in unicodedata.normalize("NFKD", text).casefold() if char.isalnum())


def text_key(text: str) -> str:
    """Return a hash of a text's letters and digits, or of the whole text if it has none, such as emoji."""
    return hashlib.sha256((plain(text) or text).encode()).hexdigest()
