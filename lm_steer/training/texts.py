"""What a training learns from: texts with labels, after prompts where there are any.

texts = LabelledTexts(["A joy.", "A waste."], [1, -1])
texts = of_frame(frame, ["label"], tokenizer)            # columns text, label, and prompt where there is one
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
    """Texts with labels in [-1, 1], as the tokenizer gets them; only what follows a prompt is learned.

    A label is a number, or one for each dimension, 0 where the text says nothing of it: that dimension is then off.
    Raises LMSteerError unless there are as many finite labels, and prompts if any, as texts.
    """

    texts: Sequence[str]
    labels: Sequence[Label]
    prompts: Sequence[str] = ()

    def __post_init__(self) -> None:
        # A column of pandas has an index of its own.
        object.__setattr__(self, "texts", texts_of(self.texts))
        labels = list(self.labels) if isinstance(self.labels, Iterable) else []
        rows = [label if isinstance(label, tuple) else (label,) for label in labels]
        if len(self.texts) != len(labels) or not all(is_finite(label) for row in rows for label in row):
            raise LMSteerError(f"{len(self.texts)} texts need a finite label each, found {self.labels!r:.80}")
        prompts = texts_of(self.prompts) or [""] * len(labels)
        if len(prompts) != len(labels):
            raise LMSteerError(f"{len(self.texts)} texts need a prompt each, found {len(prompts)}")
        numbers = [tuple(map(float, row)) for row in rows]
        object.__setattr__(self, "labels", [row[0] if len(row) == 1 else row for row in numbers])
        object.__setattr__(self, "prompts", prompts)

    def __len__(self) -> int:
        """Count the texts."""
        return len(self.texts)

    def at(self, indices: Iterable[int]) -> "LabelledTexts":
        """Return some of the texts."""
        kept = list(indices)
        texts, prompts = ([column[index] for index in kept] for column in (self.texts, self.prompts))
        return LabelledTexts(texts, [self.labels[index] for index in kept], prompts)

    def values(self, dimensions: Sequence[str]) -> Tensor:
        """Return the steer values (texts, dimensions): the labels on their dimensions, 1 on `corpus`.

        Raises LMSteerError where a text has more or fewer labels than there are dimensions for them.
        """
        styles = [name for name in dimensions if name != CORPUS]
        rows = [label if isinstance(label, tuple) else (label,) for label in self.labels]
        wrong = next((row for row in rows if len(row) != len(styles)), None)
        if wrong is not None:
            raise LMSteerError(
                f"the dimensions {', '.join(styles)} need as many labels of each text, found {len(wrong)}: name the "
                "columns of labels"
            )
        labels = torch.tensor(rows).T
        columns = {**dict(zip(styles, labels, strict=True)), CORPUS: torch.ones(len(rows))}
        return torch.stack([columns[name] for name in dimensions], dim=1)

    def usable(self, memo: HiddenMemo, what: str) -> "LabelledTexts":
        """Keep the texts of which a token is left to predict: the first of all, or those of a prompt, are given."""
        pairs = list(zip(self.prompts, self.texts, strict=True))
        if any(self.prompts):
            kept = [index for index, (row, given) in enumerate(completions(memo, pairs)) if len(row) > given]
        else:
            # Two tokens are enough to know.
            kept = [index for index, row in enumerate(memo.loaded.token_ids(self.texts, 2)) if len(row) > 1]
        if not kept:
            beyond = f" after its prompt, cut at {memo.max_length} in all" if any(self.prompts) else ""
            least = "a token" if any(self.prompts) else "at least two tokens"
            raise LMSteerError(f"none of the {len(self)} {what} texts has {least}{beyond}: there is nothing to learn")
        return self.at(kept)


def of_frame(
    frame: "pd.DataFrame", labels: Sequence[str], tokenizer: PreTrainedTokenizerBase, chat: bool = False
) -> LabelledTexts:
    """Return the texts of a frame; a prompt of messages, and with `chat` any other, goes through the chat template.

    Raises LMSteerError where `chat` is asked for and a text has no prompt, and where the template does not serve.
    """
    texts, prompts = list(frame["text"]), list(frame["prompt"]) if "prompt" in frame else [""] * len(frame)
    for index, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        if chat and not prompt:
            raise LMSteerError(f"chat: the text {text[:60]!r} answers no prompt: give the texts a column 'prompt'")
        if chat or holds_messages(prompt):
            prompts[index], texts[index] = chat_prompt(tokenizer, prompt), chat_answer(tokenizer, prompt, text)
    rows = [tuple(row) for row in frame[list(labels)].fillna(0.0).to_numpy().tolist()]
    return LabelledTexts(texts, [row[0] if len(row) == 1 else row for row in rows], prompts)


def label_names(dimensions: Sequence[str], columns: Sequence[str] = ()) -> list[str]:
    """Return the columns of labels that dimensions are learned from: those given, `label` for one, or their own names.

    Raises LMSteerError where there are more or fewer columns than dimensions for them.
    """
    styles = [name for name in dimensions if name != CORPUS]
    if columns and len(columns) != len(styles):
        raise LMSteerError(f"the dimensions {', '.join(styles)} need as many columns of labels, found {len(columns)}")
    return [*columns] or (["label"] if len(styles) == 1 else styles)
