"""On a model whose every next token is equally likely, what a bias on single words does is known exactly."""

import itertools
import math
import random
from dataclasses import replace

import pytest
import tiny
import torch
from transformers import ByT5Tokenizer

from lm_steer import LMSteerError, Steer
from lm_steer.analyse.evidence import Span, best_spans, evidence, reading

TEXT = tiny.SENTENCES[0]


@pytest.fixture
def uniform(make_loaded):
    loaded = make_loaded("llama")
    loaded.model.get_output_embeddings().weight.data.zero_()
    return loaded


def favouring(loaded, words: str) -> tuple[Steer, list[bool]]:
    """Return an offset of 1 on the tokens of `words`, and which tokens of TEXT, the first aside, it favours."""
    vocabulary = loaded.model.get_output_embeddings().weight.shape[0]
    chosen = set(loaded.tokenizer(words)["input_ids"])
    offset = torch.zeros(1, vocabulary)
    offset[0, list(chosen)] = 1.0
    favoured = [token in chosen for token in loaded.tokenizer(TEXT)["input_ids"]]
    return Steer(("style",), {"o": offset}, "offset", epsilon=1.0), favoured


def test_planted_words_are_the_spans(uniform):
    steer, favoured = favouring(uniform, "joy")
    found = evidence(steer, uniform, TEXT, {"style": 2})
    (span,) = found.spans
    assert found.piece(span) == "joy"
    assert [score > 0 for score in found.scores[1:]] == favoured[1:]
    other = evidence(steer, uniform, TEXT, {"style": 2}, against={"style": -2})
    assert other.spans[0].score > span.score
    assert [(other.start, other.stop) for other in other.spans] == [(span.start, span.stop)]


def test_the_opposite_value_finds_what_the_style_lacks(uniform):
    steer, _ = favouring(uniform, "joy")
    pieces = [span for span in evidence(steer, uniform, TEXT, {"style": -2}, count=9, length=99).spans]
    joy = TEXT.index("joy")
    found = evidence(steer, uniform, TEXT, {"style": -2}, count=9, length=99)
    assert pieces and all(joy not in range(*_characters(found, span)) for span in pieces)


def _characters(found, span: Span) -> tuple[int, int]:
    return found.offsets[span.start][0], found.offsets[span.stop - 1][1]


def test_the_likelihood_peaks_at_the_value_that_the_words_ask_for(uniform):
    steer, favoured = favouring(uniform, " the")
    kinds = int(steer.weights["o"].sum())
    share = sum(favoured[1:]) / len(favoured[1:])
    vocabulary = steer.width
    # d/dv of n v - T log(V - k + k e^v) is 0 there.
    planted = math.log(share * (vocabulary - kinds) / ((1 - share) * kinds))
    assert 0 < planted < 8
    found = reading(steer, uniform, TEXT, "style", [step / 4 for step in range(-8, 41)])
    assert found.inside
    assert found.value == pytest.approx(planted, abs=0.02)
    coarse = reading(steer, uniform, TEXT, "style", [-3, -2, -1])
    assert (coarse.value, coarse.inside) == (-1, False)


def test_the_curve_is_the_sum_of_the_tokens_evidence(loaded):
    steer = tiny.make_steer(loaded.model)
    held = {"corpus": 1.0}
    found = reading(steer, loaded, TEXT, "style", [-1, 0, 2], held=held)
    scores = evidence(steer, loaded, TEXT, {"style": 2, **held}, against={"style": -1, **held}).scores
    assert found.log_likelihoods[2] - found.log_likelihoods[0] == pytest.approx(sum(scores), abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_no_choice_of_spans_holds_more(seed):
    random_ = random.Random(seed)
    scores = [random_.gauss(0, 1) for _ in range(9)]
    count, length = 2, 3
    possible = [
        (start, stop) for start in range(len(scores)) for stop in range(start + 1, min(start + length, len(scores)) + 1)
    ]
    totals = [
        sum(sum(scores[start:stop]) for start, stop in chosen)
        for number in range(count + 1)
        for chosen in itertools.combinations(possible, number)
        if all(one[1] <= other[0] for one, other in itertools.pairwise(sorted(chosen)))
    ]
    found = best_spans(scores, count, length)
    assert sum(span.score for span in found) == pytest.approx(max(totals))
    assert len(found) <= count and all(span.stop - span.start <= length for span in found)
    assert all(one.stop <= other.start for one, other in itertools.pairwise(found))


def test_nothing_speaks_for_the_style_where_no_token_does():
    assert best_spans([0.0, -1.0, -0.5]) == []


def test_bad_input_is_named(loaded):
    steer = tiny.make_steer(loaded.model)
    with pytest.raises(LMSteerError, match="at least two tokens, 'a' has 1"):
        evidence(steer, loaded, "a", {"style": 1})
    with pytest.raises(LMSteerError, match="no dimension 'tone'"):
        reading(steer, loaded, TEXT, "tone", [-1, 0, 1])
    with pytest.raises(LMSteerError, match="at least three values of 'style', found 1"):
        reading(steer, loaded, TEXT, "style", [1, 1])
    with pytest.raises(LMSteerError, match="count: expected a whole number from 1"):
        best_spans([1.0], count=0)


def test_a_tokenizer_that_does_not_tell_places_is_refused(uniform):
    slow = replace(uniform, tokenizer=ByT5Tokenizer())
    with pytest.raises(LMSteerError, match="ByT5Tokenizer gives no offsets of its tokens"):
        evidence(tiny.make_steer(uniform.model), slow, "A film.", {"style": 1})
