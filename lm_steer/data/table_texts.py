"""The base of sources that are tables of labelled texts: datasets/file.py, datasets/hub.py."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pandas as pd

from lm_steer.data.labelled import LABEL, read_table
from lm_steer.data.sources import Texts, key
from lm_steer.util.blocks import AtLeastOne, Text, Unique
from lm_steer.util.options import A_DIMENSION
from lm_steer.util.words import CORPUS, quoted

# The names of a dataset's other columns, and of the constant dimension.
RESERVED = ("id", "prompt", "text", "split", CORPUS)


class TableTexts(Texts):
    """Texts of a .csv, .jsonl or .parquet."""

    text: Text = key("The column of the texts.", "text")
    labels: Annotated[list[str], AtLeastOne, Unique] = key(
        "The columns of labels: one, or several, each named after the dimension that learns it, of which a text may "
        "lack some.",
        ["label"],
    )
    classes: list[str] = key(
        "Numbers for values of the labels, `[joy=1, sadness=-1]`; texts with other values are left out.", []
    )

    @property
    def label_names(self) -> list[str]:  # type: ignore[override]
        """The columns of labels; a single one is called `label`."""
        return list(self.labels) if len(self.labels) > 1 else [*LABEL]

    def mistakes(self) -> Iterator[str]:
        """Yield labels that cannot become dimensions, and malformed or repeated classes."""
        wrong = [name for name in self.label_names if name in RESERVED or not A_DIMENSION.allows(name)]
        if wrong:
            yield f".labels: {quoted(wrong[:1])} cannot be the name of a dimension: rename the column"
        wrong = [one for one in self.classes if not _is_number(one.rpartition("=")[2]) or not one.rpartition("=")[1]]
        if wrong:
            yield f".classes: expected value=label, such as joy=1, found {quoted(wrong)}"
        values = [one.rpartition("=")[0] for one in self.classes]
        if repeated := [value for value in values if values.count(value) > 1]:
            yield f".classes: {quoted(repeated[:1])} has several labels: keep one"

    def read(self, path: str | Path) -> pd.DataFrame:
        """Read the file; LMSteerError if it is unreadable, mislabelled or contradictory."""
        classes = {name: float(label) for name, _, label in (one.rpartition("=") for one in self.classes)}
        frame = read_table(path, self.text, self.labels, classes)
        # Another column may be called `label`.
        columns = dict.fromkeys(("prompt", "text", "split", *self.labels))
        frame = frame[[name for name in columns if name in frame]]
        frame = frame.rename(columns=dict(zip(self.labels, self.label_names, strict=True)))
        return frame.assign(id=[f"{Path(path).stem}-{number}" for number in range(1, len(frame) + 1)])


def _is_number(text: str) -> bool:
    try:
        return -1 <= float(text) <= 1
    except ValueError:
        return False
