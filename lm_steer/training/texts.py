"""Training data: texts with labels, and optionally prompts.

texts = LabelledTexts(["A joy.", "A waste."], [1, -1])
texts = of_frame(frame, ["label"], tokenizer)            # columns text, label, and optionally prompt
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lm_steer.core.steer import is_finite
from lm_steer.model.chat import chat_answer, chat_prompt
from lm_steer.model.hidden_cache import HiddenMemo, completions
from lm_steer.model.load import texts_of
from lm_steer.util.errors import LMSteerError
from lm_steer.util.messages import holds_messages
from lm_steer.util.words import CORPUS

if TYPE_CHECKING:
    import pandas as pd

Label = float | tuple[float, ...]


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with labels in [-1, 1], as they are tokenised; prompts are read but not learned.

    A label is a number, or one number per dimension, 0 (off) if it is unknown for the text.
    Raises LMSteerError unless every text has a finite label and, if there are prompts, a prompt.
    """

    texts: Sequence[str]
    labels: Sequence[Label]
    prompts: Sequence[str] = ()

    def __post_init__(self) -> None:
        # Lists, because a pandas column may not be indexed from 0.
        object.__setattr__(self, "texts", texts_of(self.texts))
        labels = list(self.labels) if isinstance(self.labels, Iterable) else []
        rows = [label if isinstance(label, tuple) else (label,) for label in labels]
        if len(self.texts) != len(labels) or not all(is_finite(label) for row in rows for label in row):
            raise LMSteerError(
                f"labels: expected a finite number for each of {len(self.texts)} texts, found {self.labels!r:.80}"
            )
        prompts = texts_of(self.prompts) or [""] * len(labels)
        if len(prompts) != len(labels):
            raise LMSteerError(f"prompts: expected one for each of {len(self.texts)} texts, found {len(prompts)}")
        numbers = [tuple(map(float, row)) for row in rows]
        object.__setattr__(self, "labels", [row[0] if len(row) == 1 else row for row in numbers])
        object.__setattr__(self, "prompts", prompts)

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.texts)

    def at(self, indices: Iterable[int]) -> "LabelledTexts":
        """Return the texts at these indices."""
        indices = list(indices)
        texts, prompts = ([column[index] for index in indices] for column in (self.texts, self.prompts))
        return LabelledTexts(texts, [self.labels[index] for index in indices], prompts)

    def values(self, dimensions: Sequence[str]) -> Tensor:
        """Return steer values (texts, dimensions): the labels, and 1 for `corpus`.

        Raises LMSteerError unless every text has one label per dimension.
        """
        styles = [name for name in dimensions if name != CORPUS]
        rows = [label if isinstance(label, tuple) else (label,) for label in self.labels]
        wrong = next((row for row in rows if len(row) != len(styles)), None)
        if wrong is not None:
            raise LMSteerError(
                f"expected one label per text for each of the dimensions {', '.join(styles)}, found {len(wrong)}: name "
                "the columns of labels"
            )
        labels = torch.tensor(rows).T
        columns = {**dict(zip(styles, labels, strict=True)), CORPUS: torch.ones(len(rows))}
        return torch.stack([columns[name] for name in dimensions], dim=1)

    def usable(self, memo: HiddenMemo, what: str) -> "LabelledTexts":
        """Return the texts with at least one token to predict, besides the first token and the prompt's."""
        pairs = list(zip(self.prompts, self.texts, strict=True))
        if any(self.prompts):
            usable = [index for index, (row, start) in enumerate(completions(memo, pairs)) if len(row) > start]
            least = f"a token after its prompt within max_length ({memo.max_length} tokens)"
        else:
            # Two tokens are enough to decide.
            usable = [index for index, row in enumerate(memo.loaded.token_ids(self.texts, 2)) if len(row) > 1]
            least = "at least two tokens"
        if not usable:
            raise LMSteerError(f"none of the {len(self)} {what} texts has {least}: there is nothing to learn")
        return self.at(usable)


def of_frame(
    frame: "pd.DataFrame", labels: Sequence[str], tokenizer: PreTrainedTokenizerBase, chat: bool = False
) -> LabelledTexts:
    """Return the texts of a frame, applying the chat template to prompts of messages, with `chat` to all prompts.

    Raises LMSteerError if `chat` is set and a text has no prompt, or if the template fails.
    """
    texts, prompts = list(frame["text"]), list(frame["prompt"]) if "prompt" in frame else [""] * len(frame)
    for index, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        if chat and not prompt:
            raise LMSteerError(f"chat: the text {text[:60]!r} has no prompt: give the texts a column 'prompt'")
        if chat or holds_messages(prompt):
            prompts[index], texts[index] = chat_prompt(tokenizer, prompt), chat_answer(tokenizer, prompt, text)
    rows = [tuple(row) for row in frame[list(labels)].fillna(0.0).to_numpy().tolist()]
    return LabelledTexts(texts, [row[0] if len(row) == 1 else row for row in rows], prompts)


def label_names(dimensions: Sequence[str], columns: Sequence[str] = ()) -> list[str]:
    """Return the label columns for dimensions: `columns` if given, else `label` for one, or the dimensions' names.

    Raises LMSteerError unless there is one column per dimension, not counting `corpus`.
    """
    styles = [name for name in dimensions if name != CORPUS]
    if columns and len(columns) != len(styles):
        raise LMSteerError(
            f"expected one column of labels for each of the dimensions {', '.join(styles)}, found {len(columns)}"
        )
    return [*columns] or (["label"] if len(styles) == 1 else styles)
