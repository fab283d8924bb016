"""Jigsaw's Unintended Bias comments: toxic ones as -1 and as many non-toxic ones as +1, from two million.

    lm-steer data --source jigsaw --origin kaggle -o results/data/jigsaw        # needs a Kaggle account
    lm-steer data --source jigsaw --origin hub -o results/data/jigsaw           # the same comments, without an account
    lm-steer data --source jigsaw --origin all_data.csv -o results/data/jigsaw

Toxic means a toxicity of at least .5, non-toxic one of 0, as in the paper; comments in between are left out. Copies of
a comment count once, as toxic if one of them is. The larger class is sampled down to the smaller, and 2,000 comments of
each class are set aside for dev and as many for test (a tenth of the class each if it has fewer than 20,000), all by a
hash of the seed and the comment's letters, so that the order of the rows does not matter.

The files are read twice, in blocks: first for the hashes, then for the sampled comments.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from lm_steer.data.comments import comments
from lm_steer.data.labelled import SPLITS, plain
from lm_steer.data.sources import Texts
from lm_steer.fetch.hub import hub_file
from lm_steer.fetch.kaggle import kaggle_file
from lm_steer.util.blocks import Text, key
from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import Seed

COMPETITION = "jigsaw-unintended-bias-in-toxicity-classification"
REPO = "google/civil_comments"
REVISION = "f2970eb3a55777454c94069077cc8d9b5866312d"
# Together they are the comments of all_data.csv.
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


class Jigsaw(Texts):
    """Comments with a toxicity of at least .5 as -1, and as many with 0 as +1."""

    origin: Text = key(
        "`kaggle` (all_data.csv of the competition jigsaw-unintended-bias-in-toxicity-classification, with your Kaggle "
        "login), `hub` (the same comments as google/civil_comments, without an account), or the path of a .csv "
        "(all_data.csv or train.csv), of a .zip of one, of a .parquet or of a folder of them."
    )
    revision: str = key("For `hub`, a commit of google/civil_comments other than the pinned one.", "")
    seed: Seed = key("Determines which comments are sampled and how they are split.", 0)

    def files(self) -> list[str]:
        """Return the path, if the origin is one."""
        return [] if self.origin in ("kaggle", "hub") else [self.origin]

    def mistakes(self) -> Iterator[str]:
        """Yield a revision without the hub."""
        if self.revision and self.origin != "hub":
            yield ".revision: only the hub has revisions: leave it out"

    def texts(self) -> pd.DataFrame:
        """Return the sampled comments (id, text, label, split), with counts of what was read and left out."""
        files = self._local_files()
        counted: Counter[str] = Counter()
        parts, toxic = [], []
        for block in _of_the_classes(files, counted):
            parts.append(np.array([_key(self.seed, text) for text in block["text"]], dtype=np.uint64))
            toxic.append(block["toxicity"].to_numpy() >= TOXIC_FROM)
        hashes = np.concatenate([np.empty(0, np.uint64), *parts])
        is_toxic = np.concatenate([np.empty(0, bool), *toxic])
        part = drawn(hashes, is_toxic, self.origin)
        unique, unique_toxic = len(np.unique(hashes)), len(np.unique(hashes[is_toxic]))
        counted.update(repeated=len(hashes) - unique, toxic=unique_toxic, non_toxic=unique - unique_toxic)

        blocks, start = [], 0
        for block in _of_the_classes(files, Counter()):
            split = part[start : start + len(block)]
            block = block.assign(split=split, key=hashes[start : start + len(block)])
            blocks.append(block[split != LEFT_OUT])
            start += len(split)
        frame = pd.concat(blocks).sort_values("key", ignore_index=True)
        label = np.where(frame["toxicity"] >= TOXIC_FROM, -1.0, 1.0)
        frame = frame.assign(label=label, split=[SPLITS[number] for number in frame["split"]])
        frame = frame[["id", "text", "label", "split"]]
        frame.attrs = dict(counted)
        return frame

    def _local_files(self) -> list[Path]:
        if self.origin == "kaggle":
            return [kaggle_file(COMPETITION, "all_data.csv")]
        if self.origin == "hub":
            by_hand = "or download its parquet files to a folder and name it by the key origin"
            return [hub_file(REPO, file, self.revision or REVISION, by_hand) for file in HUB_FILES]
        path = Path(self.origin)
        files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not files or not files[0].exists():
            problem = "contains no parquet files" if path.is_dir() else "does not exist"
            raise LMSteerError(f"{self.origin} {problem}: the origin is kaggle, hub, or a path")
        return files


def drawn(key: np.ndarray, is_toxic: np.ndarray, origin: Text) -> np.ndarray:
    """Return the number of each comment's split (SPLITS), or LEFT_OUT. (n,) uint64, (n,) bool → (n,) int8."""
    part = np.full(len(key), LEFT_OUT, np.int8)
    # Of copies, the first toxic one, otherwise the first, in the order of the hashes.
    order = np.lexsort((~is_toxic, key))
    first = order[np.unique(key[order], return_index=True)[1]]
    classes = [first[is_toxic[first]], first[~is_toxic[first]]]
    size = min(map(len, classes))
    if size < LEAST:
        raise LMSteerError(
            f"{origin}: expected at least {LEAST} toxic and {LEAST} non-toxic comments, found {len(classes[0])} and "
            f"{len(classes[1])}"
        )
    held_out = min(HELD_OUT, size // 10)
    for members in classes:
        part[members[:size]] = SPLITS.index("train")
        part[members[:held_out]] = SPLITS.index("dev")
        part[members[held_out : 2 * held_out]] = SPLITS.index("test")
    return part


def _of_the_classes(files: list[Path], counted: Counter[str]) -> Iterator[pd.DataFrame]:
    """Yield blocks of the comments that are toxic or not toxic at all; add to `counted` what was read and left out."""
    for block in comments(files):
        empty = block["text"].str.strip() == ""
        toxic, clean = block["toxicity"] >= TOXIC_FROM, block["toxicity"] == 0
        counted["read"] += len(block)
        counted["empty"] += int(empty.sum())
        counted["between"] += int((~empty & ~toxic & ~clean).sum())
        yield block[~empty & (toxic | clean)]


def _key(seed: int, text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {plain(text)}".encode()).digest()[:8])
