"""Sources of labelled texts and of prompts: one class each, whose fields are the keys of its block in a study.

    frame, counted = labelled_texts("jigsaw", origin="hub")             # id, text, label in [-1, 1]
    rows = prompt_lines("paper", name="positive")                       # [{"prompt": {"text": …}, …}, …]

A source is a module of datasets/ or prompts/, named after it; your own is named as `module:Class`, or by an entry point
of its package in the group `lm_steer.datasets` or `lm_steer.prompts`.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import pandas as pd

from lm_steer.data import datasets, prompts
from lm_steer.data.labelled import LABEL, checked_texts, keys_of
from lm_steer.util.blocks import key
from lm_steer.util.errors import LMSteerError
from lm_steer.util.kinds import Kinds, OfKind
from lm_steer.util.options import Choice

__all__ = ["DATASETS", "PROMPTS", "Prompts", "Texts", "key", "labelled_texts", "prompt_lines"]


class Source(OfKind):
    """A source of texts or prompts.

    reads       its keys that are paths of files
    """

    reads: ClassVar[tuple[str, ...]] = ()

    def files(self) -> list[str]:
        """Return the user's files that it reads, whose edits re-run what depends on it."""
        return [getattr(self, name) for name in self.reads]


class Texts(Source):
    """A source of labelled texts.

    weak        whether a rule guesses its labels; the page says so of steers that learn from them
    label_names the columns of labels: `label`, or several named after dimensions
    """

    weak: ClassVar[bool] = False
    label_names: ClassVar[Sequence[str]] = LABEL

    source: str = ""

    @abstractmethod
    def texts(self) -> pd.DataFrame:
        """Return the columns id, text, labels in [-1, 1], prompt if texts have one, and split (train, dev or test) if
        the source has its own.

        The frame's `attrs` may count what it was made from, for the page.
        """


class Prompts(Source):
    """A source of prompts."""

    chat: Choice = key("Whether they are a user's messages, which the model answers through its chat template.", False)
    toxic: Choice = key("Whether texts made from these prompts are folded behind a warning on the page.", False)
    source: str = ""

    @abstractmethod
    def prompts(self) -> list[dict[str, Any]]:
        """Return lines in the field's form (prompt_files.py)."""


DATASETS = Kinds("source of texts", "source", Texts, datasets, "lm_steer.datasets")  # type: ignore[type-abstract]
PROMPTS = Kinds("source of prompts", "source", Prompts, prompts, "lm_steer.prompts")  # type: ignore[type-abstract]
Of = TypeVar("Of", bound=Source)


def labelled_texts(source: str, **keys: Any) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the texts of a source, and its counts of what they were made from, if any.

    Repeated texts are dropped, unless the source has its own splits, which are left unchanged.
    """
    described = _checked(DATASETS, source, keys)
    frame = checked_texts(described.texts(), f"the source '{source}'", described.label_names)
    counted, frame.attrs = dict(frame.attrs), {}
    columns = [name for name in ("id", "prompt", "text", *described.label_names, "split") if name in frame]
    repeated = keys_of(frame).duplicated() & ("split" not in frame)
    return frame.loc[~repeated, columns], counted


def prompt_lines(source: str, **keys: Any) -> list[dict[str, Any]]:
    """Return the prompts of a source in the field's form; LMSteerError if it has too few."""
    return _checked(PROMPTS, source, keys).prompts()


def _checked(kinds: Kinds[Of], name: str, keys: Mapping[str, Any]) -> Of:
    source = kinds.make(name, keys)
    for mistake in source.mistakes():
        raise LMSteerError(f"the {kinds.what} '{name}'{mistake}")
    return source
