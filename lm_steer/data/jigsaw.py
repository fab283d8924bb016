"""Jigsaw's Unintended Bias comments: toxic ones as -1 and as many of the others as +1, of two million read.

    lm-steer data --source jigsaw --origin kaggle -o results/data/jigsaw        # needs an account of Kaggle
    lm-steer data --source jigsaw --origin hub -o results/data/jigsaw           # the same comments, without one
    lm-steer data --source jigsaw --origin all_data.csv -o results/data/jigsaw

Toxic is a toxicity of .5 or more, non-toxic one of 0, as in the paper; what lies between is left out. A comment that
comes twice counts once, and as toxic if one copy is. The larger class is drawn down to the smaller, and 2,000 a class
are set aside for dev and as many for test, a tenth of the class each where it has fewer than 20,000: all by a hash of
the seed and the comment's letters, so that the order of the rows does not matter.

The files are read twice, in blocks: first for the hashes, then for the comments that were drawn.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from lm_steer.data.comments import comments
from lm_steer.data.labelled import SPLITS, plain
from lm_steer.fetch.hub import hub_file
from lm_steer.fetch.kaggle import kaggle_file
from lm_steer.util.errors import LMSteerError

COMPETITION = "jigsaw-unintended-bias-in-toxicity-classification"
REPO = "google/civil_comments"
REVISION = "f2970eb3a55777454c94069077cc8d9b5866312d"
# All of them together are the comments of all_data.csv.
HUB_FILES = (
    "data/train-00000-of-00002.parquet",
    "data/train-00001-of-00002.parquet",
    "data/validation-00000-of-00001.parquet",
    "data/test-00000-of-00001.parquet",
)
TOXIC_FROM = 0.5
HELD_OUT = 2000
LEAST = 10
LEFT_OUT = -1


def jigsaw(origin: str, revision: str = "", seed: int = 0) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the drawn comments (id, text, label, split), and counts of what was read and left out."""
    files = comment_files(origin, revision)
    found: Counter[str] = Counter()
    keys, toxic = [], []
    for block in _of_the_classes(files, found):
        keys.append(np.array([_key(seed, text) for text in block["text"]], dtype=np.uint64))
        toxic.append(block["toxicity"].to_numpy() >= TOXIC_FROM)
    key, is_toxic = np.concatenate([np.empty(0, np.uint64), *keys]), np.concatenate([np.empty(0, bool), *toxic])
    part = drawn(key, is_toxic, origin)
    unique, unique_toxic = len(np.unique(key)), len(np.unique(key[is_toxic]))
    found.update(repeated=len(key) - unique, toxic=unique_toxic, non_toxic=unique - unique_toxic)

    chosen, start = [], 0
    for block in _of_the_classes(files, Counter()):
        split = part[start : start + len(block)]
        block = block.assign(split=split, key=key[start : start + len(block)])
        chosen.append(block[split != LEFT_OUT])
        start += len(split)
    frame = pd.concat(chosen).sort_values("key", ignore_index=True)
    label = np.where(frame["toxicity"] >= TOXIC_FROM, -1.0, 1.0)
    frame = frame.assign(label=label, split=[SPLITS[number] for number in frame["split"]])
    return frame[["id", "text", "label", "split"]], dict(found)


def comment_files(origin: str, revision: str = "") -> list[Path]:
    """Return the local files of an origin: `kaggle`, `hub`, or the path of a file or of a folder of parquet files."""
    if origin == "kaggle":
        return [kaggle_file(COMPETITION, "all_data.csv")]
    if origin == "hub":
        by_hand = "or download its parquet files to a folder and name it by the key origin"
        return [hub_file(REPO, file, revision or REVISION, by_hand) for file in HUB_FILES]
    if not origin:
        raise LMSteerError("the source 'jigsaw' needs an origin: kaggle, hub, or the path of all_data.csv or its zip")
    path = Path(origin)
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        problem = "contains no parquet files" if path.is_dir() else "does not exist"
        raise LMSteerError(f"{origin} {problem}: the origin is kaggle, hub, or a path")
    return files


def drawn(key: np.ndarray, is_toxic: np.ndarray, origin: str) -> np.ndarray:
    """Return for each comment the number of its split (SPLITS), or LEFT_OUT. (n,) uint64, (n,) bool → (n,) int8."""
    part = np.full(len(key), LEFT_OUT, np.int8)
    # Of copies, the first that is toxic, else the first; in the order of the hashes.
    order = np.lexsort((~is_toxic, key))
    first = order[np.unique(key[order], return_index=True)[1]]
    classes = [first[is_toxic[first]], first[~is_toxic[first]]]
    size = min(map(len, classes))
    if size < LEAST:
        raise LMSteerError(
            f"{origin} has {len(classes[0])} toxic and {len(classes[1])} non-toxic comments: at least {LEAST} of each "
            "are needed"
        )
    held_out = min(HELD_OUT, size // 10)
    for members in classes:
        part[members[:size]] = SPLITS.index("train")
        part[members[:held_out]] = SPLITS.index("dev")
        part[members[held_out : 2 * held_out]] = SPLITS.index("test")
    return part


def _of_the_classes(files: list[Path], found: Counter[str]) -> Iterator[pd.DataFrame]:
    """Yield blocks of the comments that are toxic or not at all, counting the others in `found`."""
    for block in comments(files):
        empty = block["text"].str.strip() == ""
        toxic, clean = block["toxicity"] >= TOXIC_FROM, block["toxicity"] == 0
        found["read"] += len(block)
        found["empty"] += int(empty.sum())
        found["between"] += int((~empty & ~toxic & ~clean).sum())
        yield block[~empty & (toxic | clean)]


def _key(seed: int, text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {plain(text)}".encode()).digest()[:8])
