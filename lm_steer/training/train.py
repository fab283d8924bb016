"""Train a steer on any causal LM that a program has loaded.

steer = train(model, tokenizer, ["A joy to watch.", "A waste of time."], [1, -1], rank=64, steps=200)
with steer.attach(model).at(style=5, corpus=1):
    model.generate(**inputs)
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lm_steer.core.steer import Steer
from lm_steer.data.labelled import checked_texts, hold_out, require_agreement
from lm_steer.model.in_memory import in_memory
from lm_steer.training.learn import LabelledTexts, Recipe, about, learn
from lm_steer.util.options import from_fields
from lm_steer.util.words import CORPUS


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    labels: Sequence[float],
    *,
    cache: str | Path | None = None,
    **recipe: Any,
) -> Steer:
    """Return a steer trained on texts with labels in [-1, 1]; the model is frozen, and stays as it is.

    `recipe` are fields of `Recipe` (rank, steps, learning_rate, seed, …); without `dimensions` they are `style`, which
    follows the labels, and `corpus`. A tenth of the texts is held out for the dev loss, which is printed. With `cache`,
    a folder, hidden states are found again, and a training that was killed goes on.
    Raises LMSteerError where texts, labels or fields do not serve, or the training diverges.
    """
    chosen = from_fields(Recipe, {"dimensions": ("style", CORPUS), **recipe})
    given = LabelledTexts(texts, labels)
    frame = checked_texts(pd.DataFrame({"text": given.texts, "label": given.labels}), "texts")
    require_agreement(frame, "texts")
    learned, held_out = (LabelledTexts(list(part["text"]), list(part["label"])) for part in hold_out(frame))
    with in_memory(model, tokenizer, cache) as (loaded, folder):
        steer, _ = learn(loaded, learned, held_out, chosen, folder)
        return replace(steer, about=about(loaded, chosen, learned))
