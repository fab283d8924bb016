"""SST-5, the Stanford Sentiment Treebank with five classes, in its own splits of 8,544, 1,101 and 2,210 sentences.

lm-steer data --source sst5 -o results/data/sst5
lm-steer data --source sst5 --path FOLDER -o results/data/sst5          # train.jsonl, dev.jsonl, test.jsonl
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from lm_steer.data.labelled import SPLITS, checked_texts
from lm_steer.data.sources import Texts, key
from lm_steer.fetch.hub import hub_file
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import numbered_jsonl

REPO = "SetFit/sst5"
REVISION = "e51bdcd8cd3a30da231967c1a249ba59361279a3"


class Sst5(Texts):
    """Sentences of five classes, -1 to 1, in their own splits."""

    path: str = key("A folder with train.jsonl, dev.jsonl and test.jsonl instead of the hub.", "")
    revision: str = key("A commit of SetFit/sst5 other than the pinned one.", "")

    def files(self) -> list[str]:
        """Return the files of the folder."""
        return [f"{self.path}/{split}.jsonl" for split in SPLITS] if self.path else []

    def mistakes(self) -> Iterator[str]:
        """Yield a revision without the hub."""
        if self.revision and self.path:
            yield ".revision: only the hub has revisions: leave it out"

    def texts(self) -> pd.DataFrame:
        """Return the sentences with labels 0..4 as -1, -.5, 0, .5, 1, and their splits.

        Repeated sentences of the release are preserved, as in the paper's training.
        """
        names = [f"{split}.jsonl" for split in SPLITS]
        by_hand = f"or put {', '.join(names)} of {REPO} in a folder and name it by the key path"
        files = self.files() or [str(hub_file(REPO, name, self.revision or REVISION, by_hand)) for name in names]
        parts = [_read(Path(file), split) for file, split in zip(files, SPLITS, strict=True)]
        return pd.concat(parts, ignore_index=True)


def _read(file: Path, split: str) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for number, row in numbered_jsonl(file, {"label": int}):
        if row["label"] not in range(5):
            raise LMSteerError(f"{file}, line {number}: expected a label 0, 1, 2, 3 or 4, found {row['label']}")
        rows.append({"id": f"{split}-{len(rows) + 1}", "text": row.get("text"), "label": row["label"] / 2 - 1})
    if not rows:
        raise LMSteerError(f"{file} holds no texts")
    return checked_texts(pd.DataFrame(rows).assign(split=split), str(file))
