import pytest
import tiny
import torch

from lm_steer import LMSteerError, Steer
from lm_steer.analyse.directions import directions, effective_rank, singular
from lm_steer.analyse.vocabulary import whole_words
from lm_steer.model.head import head_inputs

TEXT = tiny.SENTENCES[1]


@pytest.mark.parametrize("rank", [3, 32, 40])
def test_the_decomposition_is_that_of_the_whole_map(loaded, rank):
    steer = tiny.make_steer(loaded.model, rank=rank)
    u, values, v = singular(steer, "style")
    assert len(values) == min(rank, steer.width)
    torch.testing.assert_close(u * values @ v.T, steer.matrix({"style": 1}), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(u.T @ u, torch.eye(len(values)), rtol=0, atol=1e-4)


def planted(loaded, sign: float) -> tuple[Steer, str, str]:
    """A steer of two directions, σ = 3 and 1: the first raises one word where h points along the mean state."""
    vocabulary = whole_words(loaded.tokenizer)
    embeddings = loaded.model.get_output_embeddings().weight[list(vocabulary)]
    first = embeddings.norm(dim=1).argmax().item()
    u = torch.nn.functional.normalize(embeddings[first], dim=0)
    apart = embeddings - (embeddings @ u)[:, None] * u
    second = apart.norm(dim=1).argmax().item()
    w = torch.nn.functional.normalize(apart[second], dim=0)
    ids = torch.tensor([loaded.tokenizer(TEXT)["input_ids"]])
    mean = head_inputs(loaded.model, ids, torch.ones_like(ids))[0].mean(0)
    v = torch.nn.functional.normalize(mean, dim=0) * sign
    other = torch.randn(len(v), generator=torch.Generator().manual_seed(0))
    other = torch.nn.functional.normalize(other - (other @ v) * v, dim=0)
    weights = {"A": torch.stack([3 * u, w], 1)[None], "B": torch.stack([v, other], 1)[None]}
    names = list(vocabulary.values())
    return Steer(("style",), weights), names[first], names[second]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_planted_directions_are_found_and_turned_by_their_contexts(loaded, sign):
    steer, first, second = planted(loaded, sign)
    found = directions(steer, loaded, "style", texts=[TEXT], count=5, words=4)
    assert [round(direction.singular_value, 3) for direction in found] == [3.0, 1.0]
    assert found[0].share == pytest.approx(0.9, abs=1e-3)
    # Where the mean of v·h is negative, a positive value lowers the word.
    assert (found[0].raised if sign > 0 else found[0].lowered)[0][0] == first
    assert second in (found[1].raised[0][0], found[1].lowered[0][0])
    assert all(direction.context[0] >= 0 for direction in found)


def test_word_lists_are_ordered_and_judged(loaded):
    steer = tiny.make_steer(loaded.model)
    found = directions(steer, loaded, "style", words=3, judge=lambda words: [float(len(word)) for word in words])
    for direction in found:
        weights = [weight for _, weight in direction.raised]
        assert weights == sorted(weights, reverse=True)
        assert direction.lowered[0][1] <= direction.lowered[-1][1] <= weights[-1]
        assert direction.scores[0] == pytest.approx(sum(len(word) for word, _ in direction.raised) / 3)


def test_how_rank_concentrates():
    assert effective_rank(torch.ones(7)) == pytest.approx(7, rel=1e-5)
    assert effective_rank(torch.tensor([2.0, 0.0])) == pytest.approx(1)


def test_bad_input_is_named(loaded):
    steer = tiny.make_steer(loaded.model)
    with pytest.raises(LMSteerError, match="no dimension 'tone': it has style, corpus"):
        directions(steer, loaded, "tone")
    with pytest.raises(LMSteerError, match="a steer of kind add has no matrix"):
        directions(tiny.make_steer(loaded.model, "add"), loaded, "style")


def test_texts_without_a_token_and_judges_without_a_number_are_refused(loaded):
    steer = tiny.make_steer(loaded.model)
    with pytest.raises(LMSteerError, match="none of the texts has a token"):
        directions(steer, loaded, "style", texts=[""])
    with pytest.raises(LMSteerError, match="judge: expected a finite number"):
        directions(steer, loaded, "style", judge=lambda words: [float("nan")] * len(words))
