"""SST-5, the Stanford Sentiment Treebank with five classes, in its own splits (8,544, 1,101 and 2,210 sentences).

lm-steer data --source sst5 -o results/data/sst5
lm-steer data --source sst5 --path FOLDER -o results/data/sst5          # train.jsonl, dev.jsonl, test.jsonl
"""

from pathlib import Path

import pandas as pd

from lm_steer.data.labelled import SPLITS, checked_texts
from lm_steer.fetch.hub import hub_file
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import read_jsonl

REPO = "SetFit/sst5"
REVISION = "e51bdcd8cd3a30da231967c1a249ba59361279a3"


def sst5(path: str = "", revision: str = "") -> pd.DataFrame:
    """Return the sentences with labels 0..4 as -1, -.5, 0, .5, 1, and the split each belongs to.

    Nothing is left out: a sentence that the release has twice is there twice, as in the paper's training.
    """
    by_hand = f"or put {', '.join(_file(split) for split in SPLITS)} of {REPO} in a folder and name it by the key path"
    parts = []
    for split in SPLITS:
        file = Path(path, _file(split)) if path else hub_file(REPO, _file(split), revision or REVISION, by_hand)
        parts.append(_read(file, split))
    return pd.concat(parts, ignore_index=True)


def _file(split: str) -> str:
    return f"{split}.jsonl"


def _read(file: Path, split: str) -> pd.DataFrame:
    rows = read_jsonl(file)
    if not rows:
        raise LMSteerError(f"{file} holds no texts")
    for number, row in enumerate(rows, start=1):
        if "label" not in row:
            raise LMSteerError(f"{file}, row {number}: no key 'label', only {', '.join(row) or 'nothing'}")
        if isinstance(row["label"], bool) or row["label"] not in range(5):
            raise LMSteerError(f"{file}, row {number}: label {row['label']!r} is not 0, 1, 2, 3 or 4")
    frame = pd.DataFrame(
        {
            "id": [f"{split}-{number}" for number in range(1, len(rows) + 1)],
            "text": [row.get("text") for row in rows],
            "label": [row["label"] / 2 - 1 for row in rows],
            "split": split,
        }
    )
    return checked_texts(frame, str(file))
