"""Steers without training are the statistics that they are named after."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from lm_steer import LMSteerError
from lm_steer.model.head import head_inputs
from lm_steer.training.learn import Recipe, learn
from lm_steer.training.texts import LabelledTexts

GOOD = ["The movie was a joy to watch.", "A warm and funny story."]
BAD = ["The film is dull and slow.", "What a waste of time."]
TEXTS = LabelledTexts(GOOD + BAD, [1.0, 0.5, -1.0, -0.5])
# Each text is drawn once.
RECIPE = Recipe(("style",), kind="add", training_free=True, steps=2, batch_size=2, epsilon=0.25)


def states(loaded, text: str) -> tuple[torch.Tensor, list[int]]:
    """The head's inputs at the tokens that a text predicts, and those tokens, by the plain model."""
    encoded = loaded.tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        hidden = head_inputs(loaded.model, encoded["input_ids"], encoded["attention_mask"])
    return hidden[0, :-1], encoded["input_ids"][0, 1:].tolist()


def test_add_is_the_difference_of_weighted_means(loaded, tmp_path):
    steer, log = learn(loaded, TEXTS, TEXTS, RECIPE, tmp_path)
    means = {}
    for sign in (1, -1):
        rows = [
            (max(sign * label, 0), states(loaded, text)[0])
            for text, label in zip(TEXTS.texts, TEXTS.labels, strict=True)
        ]
        total = sum(weight * len(each) for weight, each in rows)
        means[sign] = sum(weight * each.sum(0) for weight, each in rows) / total
    torch.testing.assert_close(0.25 * steer.weights["a"][0], means[1] - means[-1], rtol=1e-4, atol=1e-5)
    assert [row["step"] for row in log] == [0, 2] and steer.kind == "add"


def test_offset_is_the_log_odds_of_tokens(loaded, tmp_path):
    steer, _ = learn(loaded, TEXTS, TEXTS, replace(RECIPE, kind="offset"), tmp_path)
    counts = {1: Counter(), -1: Counter()}
    for text, label in zip(TEXTS.texts, TEXTS.labels, strict=True):
        for token in states(loaded, text)[1]:
            counts[1 if label > 0 else -1][token] += abs(label)
    vocabulary = steer.weights["o"].shape[1]

    def odds(sign: int, token: int) -> float:
        share = (counts[sign][token] + 0.5) / (counts[sign].total() + 0.5 * vocabulary)
        return math.log(share / (1 - share))

    for token in (*counts[1], *counts[-1], vocabulary - 1):
        assert 0.25 * steer.weights["o"][0, token].item() == pytest.approx(odds(1, token) - odds(-1, token), abs=1e-4)


def test_one_sided_texts_and_recipes_without_a_closed_form_are_refused(loaded, tmp_path):
    with pytest.raises(LMSteerError, match="lack positive or negative labels of 'style'"):
        learn(loaded, TEXTS.at([0, 1]), TEXTS, RECIPE, tmp_path)
    for wrong in ({"kind": "multiply"}, {"dimensions": ("style", "corpus")}):
        with pytest.raises(LMSteerError, match="training_free: only the kinds add and offset"):
            replace(RECIPE, **wrong)
