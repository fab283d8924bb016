"""Train a steer on a causal LM that is already loaded.

steer = train(model, tokenizer, ["A joy to watch.", "A waste of time."], [1, -1], rank=64, steps=200)
with steer.attach(model).at(style=5, corpus=1):
    model.generate(**inputs)

Rows of a dataset work too: {"prompt": …, "completion": …, "label": 1}, {"messages": […], "label": -1}, or pairs
{"prompt": …, "chosen": …, "rejected": …}.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lm_steer.core.steer import Steer
from lm_steer.data.examples import examples
from lm_steer.data.labelled import checked_texts, hold_out, require_agreement, unseen_pairs
from lm_steer.model.in_memory import in_memory
from lm_steer.training.learn import Recipe, about, learn
from lm_steer.training.texts import LabelledTexts, label_names, of_frame
from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import from_fields
from lm_steer.util.progress import say
from lm_steer.util.words import CORPUS


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str] | Sequence[Mapping[str, Any]],
    labels: Sequence[float] | None = None,
    *,
    chat: bool = False,
    cache: str | Path | None = None,
    **recipe: Any,
) -> Steer:
    """Return a steer trained on texts with labels in [-1, 1]; the model is frozen and not changed.

    texts       texts, or rows of a dataset in a supported shape (data/examples.py); only the completion of a row with
                a prompt is learned
    labels      labels of texts; rows have theirs in `label` or, for several dimensions, in keys of the same names
    chat        treat prompts as user messages for the tokenizer's chat template, as lists of messages always are
    cache       a folder for hidden states and checkpoints, from which an interrupted training resumes

    `recipe` takes the fields of `Recipe` (rank, steps, learning_rate, seed, …); `dimensions` defaults to `style`, which
    follows the labels, and `corpus`. A tenth of the texts is held out for the dev loss, which is printed.
    Raises LMSteerError if texts, labels or fields are invalid, or if the training diverges.
    """
    settings = from_fields(Recipe, {"dimensions": ("style", CORPUS), **recipe})
    names = label_names(settings.dimensions)
    frame = checked_texts(_frame(texts, labels), "texts", names)
    require_agreement(frame, "texts", names)
    report_unseen(frame, names)
    with in_memory(model, tokenizer, cache) as (loaded, folder):
        train_texts, dev_texts = (of_frame(part, names, loaded.tokenizer, chat) for part in hold_out(frame))
        steer, _ = learn(loaded, train_texts, dev_texts, settings, folder)
        return replace(steer, about=about(loaded, settings, train_texts))


def _frame(texts: Sequence[Any], labels: Sequence[float] | None) -> pd.DataFrame:
    if labels is None and isinstance(texts, Iterable) and not isinstance(texts, str | Mapping):
        rows = list(texts)
        if rows and all(isinstance(row, Mapping) for row in rows):
            try:
                return examples(pd.DataFrame(rows), "texts")
            except UnicodeEncodeError:
                raise LMSteerError("texts: one contains half of a surrogate pair, which is not valid text") from None
        raise LMSteerError(
            "texts without labels: give a label for each, or rows with labels, as from frame.to_dict('records')"
        )
    labelled = LabelledTexts(texts, labels if labels is not None else [])
    return pd.DataFrame({"text": labelled.texts, "label": labelled.labels})


def report_unseen(frame: pd.DataFrame, names: Sequence[str]) -> None:
    """Print the pairs of attributes that no text has, whose values are not learned together.

    Raises LMSteerError for labels that are all 0, from which nothing is learned.
    """
    for name in names:
        if not frame[name].any():
            raise LMSteerError(f"the {name} of every text is 0: nothing can be learned from it, choose other labels")
    if unseen := unseen_pairs(frame, names):
        say(f"no text has {', nor '.join(unseen)}: only the sum of their effects is learned")
