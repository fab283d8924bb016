"""Sources of labelled texts: a class each, whose fields are the keys of its block in a study.

    frame, counted = labelled_texts("jigsaw", origin="hub")             # id, text, label in [-1, 1]

A source is a module of datasets/, named after it; one of your own is named as `module:Class`, or offered by a package
as an entry point in the group `lm_steer.datasets`.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import pandas as pd

from lm_steer.data import datasets
from lm_steer.data.labelled import LABEL, checked_texts, keys_of
from lm_steer.data.sources import Source, checked
from lm_steer.util.blocks import key
from lm_steer.util.kinds import Kinds

__all__ = ["DATASETS", "Texts", "key", "labelled_texts"]


class Texts(Source):
    """A source of labelled texts.

    weak        whether its labels are guessed by a rule, which the page says of steers that learn from them
    """

    weak: ClassVar[bool] = False

    source: str = ""

    @property
    def label_names(self) -> Sequence[str]:
        """The columns that hold labels: `label`, or several that are named after dimensions."""
        return LABEL

    @abstractmethod
    def texts(self) -> pd.DataFrame:
        """Return the columns id, text and its labels in [-1, 1], prompt where texts have one, and split (train, dev or
        test) where it has splits of its own.

        The frame's `attrs` may count what it was made from, for the page.
        """


DATASETS = Kinds("source of texts", "source", Texts, datasets, "lm_steer.datasets")  # type: ignore[type-abstract]


def labelled_texts(source: str, **keys: Any) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the texts of a source, and counts of what it was made from, where the source tells.

    Each text comes once, unless the source has splits of its own, which are left as they are.
    """
    described = checked(DATASETS, source, keys)
    frame = checked_texts(described.texts(), f"the source '{source}'", described.label_names)
    counted, frame.attrs = dict(frame.attrs), {}
    columns = [name for name in ("id", "prompt", "text", *described.label_names, "split") if name in frame]
    alike = keys_of(frame).duplicated() & ("split" not in frame)
    return frame.loc[~alike, columns], counted
