"""Scores from any sequence classifier in Hugging Face format.

classifier.py holds the presets; any other classifier is described by its label, activation and attribute. It runs in
single precision, in blocks of fixed shape, so that a score does not depend on what else is scored (exactly on a CPU).
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lm_steer.model.blocks import blocks_of, round_up
from lm_steer.model.load import LoadedModel, load_classifier
from lm_steer.score.store import Scorer, Scores, continuation, whole
from lm_steer.util.errors import LMSteerError
from lm_steer.util.formats import hub_name, read_record
from lm_steer.util.options import is_number
from lm_steer.util.progress import say

TOKENS = {"cpu": 2048, "cuda": 32768}
FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "softmax": partial(torch.softmax, dim=-1),
    "sigmoid": torch.sigmoid,
    "none": lambda logits: logits,
}


def classifier(folder: str | Path, label: str, activation: str, attribute: str) -> Scorer:
    """Load a classifier that `lm-steer model` has obtained.

    label           the class whose value is the score
    activation      one of FUNCTIONS, over the logits of the classes
    attribute       what the score measures: toxicity (of the continuation), sentiment or another (of the whole text)
    """
    if attribute in ("", "perplexity"):
        raise LMSteerError(
            f"{folder}: set `attribute` to what the score measures: toxicity, sentiment, or another word"
        )
    loaded = load_classifier(folder)
    record = read_record(folder)
    index = _index_of(loaded, label, activation, record["id"])
    # Only a local folder's name: its path is private, and the fingerprint identifies the model.
    name = hub_name(folder) or Path(record["id"]).name
    text = continuation if attribute == "toxicity" else whole
    return Scorer(
        name="classifier",
        version=f"{name} {_labels(loaded)[index]} {activation} {loaded.fingerprint[:8]}",
        attributes=("positive" if attribute == "sentiment" else attribute,),
        text=text,
        judge=lambda items: _judge(loaded, [text(item) for item in items], index, activation),
    )


def _labels(loaded: LoadedModel) -> list[str]:
    names: Any = loaded.model.config.id2label
    return [str(names[index]) for index in sorted(names)]


def _index_of(loaded: LoadedModel, label: str, activation: str, identifier: str) -> int:
    """Return the index of the class whose probability is the score; LMSteerError lists the labels."""
    labels = _labels(loaded)
    matches = [index for index, name in enumerate(labels) if name.lower() == label.lower()]
    listed = ", ".join(labels)
    if len(matches) != 1:
        raise LMSteerError(f"{identifier} has no label '{label}': set `label` to one of {listed}")
    regression = loaded.model.config.problem_type == "regression"
    if activation == "softmax" and (len(labels) == 1 or regression):
        what = "is a regression model" if regression else "has only one label"
        raise LMSteerError(
            f"{identifier} {what} ({listed}), so softmax gives no probability: set `activation` to sigmoid, or to none "
            "to use its output as the score"
        )
    return matches[0]


@torch.no_grad()
def _judge(loaded: LoadedModel, texts: Sequence[str], index: int, activation: str) -> Scores:
    if not texts:
        return
    limit = longest(loaded)
    # One token beyond the limit shows which texts are cut.
    cut = sum(len(row) > limit for row in loaded.token_ids(texts, limit + 1))
    ids = loaded.token_ids(texts, limit)
    if cut:
        say(f"{cut} of {len(texts)} texts exceed the classifier's limit of {limit} tokens and are cut")
    keys = [min(limit, round_up(len(row))) for row in ids]
    device = loaded.device.type
    for length, full, numbers in blocks_of(keys, lambda length: max(1, TOKENS[device] // length), device != "cpu"):
        rows = [ids[number] for number in numbers]
        block = [*rows, *[rows[-1]] * (full - len(rows))] if device == "cpu" else rows
        probabilities = _block(loaded, block, length, activation)
        for number, values in zip(numbers, probabilities.tolist(), strict=False):
            yield number, (values[index],)


def _block(loaded: LoadedModel, rows: list[list[int]], length: int, activation: str) -> torch.Tensor:
    """Return the class values, (rows, classes), of token ids padded to `length`."""
    padding = loaded.tokenizer.pad_token_id
    tokens = torch.tensor([row + [padding] * (length - len(row)) for row in rows], device=loaded.device)
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], device=loaded.device)
    logits = loaded.model(input_ids=tokens, attention_mask=mask).logits.float()
    return FUNCTIONS[activation](logits).cpu()


def longest(loaded: LoadedModel) -> int:
    """Return the longest input in tokens: the smaller of the tokenizer's limit and the model's context."""
    most = loaded.tokenizer.model_max_length
    if not is_number(most) or most < 1:
        raise LMSteerError(f"{loaded.name}: model_max_length in tokenizer_config.json is {most!r}: expected a number")
    return min(int(most), loaded.context or int(most))
