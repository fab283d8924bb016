import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import TopKLogitsWarper, TopPLogitsWarper

from lm_steer.generation.nucleus import first_inside, sample_tokens, tries

DRAWS = 20_000


def reference(logits: torch.Tensor, top_p: float, top_k: int) -> torch.Tensor:
    """Probabilities after the warpers of transformers, in its order; they sort the vocabulary."""
    ids = torch.zeros(len(logits), 1, dtype=torch.long)
    if top_k:
        logits = TopKLogitsWarper(top_k)(ids, logits)
    if top_p < 1:
        logits = TopPLogitsWarper(top_p)(ids, logits)
    return logits.softmax(-1)


def frequencies(logits: torch.Tensor, top_p: float, top_k: int, seed: int = 0) -> torch.Tensor:
    uniforms = torch.from_numpy(np.random.default_rng(seed).random((DRAWS, tries(top_p))))
    tokens = sample_tokens(logits.expand(DRAWS, -1), uniforms, top_p, top_k)
    return torch.bincount(tokens, minlength=logits.shape[-1])


@pytest.mark.parametrize("top_k", [0, 1, 5, 12, 100])
@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.5, 0.2, 0.05])
@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
def test_tokens_follow_the_distribution_of_the_nucleus(top_p, top_k, spread):
    logits = torch.randn(1, 30, generator=torch.Generator().manual_seed(0)) * spread
    expected = reference(logits, top_p, top_k)[0]
    found = frequencies(logits, top_p, top_k)
    assert found[expected == 0].sum() == 0
    support = expected > 0
    # Cells with few expected draws go together, as the test of fit asks for.
    order = expected[support].argsort(descending=True)
    wanted, got = expected[support][order].double() * DRAWS, found[support][order]
    many = wanted >= 20
    if many.sum() < 2:
        return
    wanted = torch.cat([wanted[many], wanted[~many].sum()[None]])
    got = torch.cat([got[many], got[~many].sum()[None]])
    keep = wanted > 0
    assert chisquare(got[keep], wanted[keep] * (got.sum() / wanted.sum())).pvalue > 1e-4


def test_every_token_of_the_nucleus_can_be_drawn_and_no_other():
    logits = torch.tensor([[3.0, 2.9, 2.0, 1.0, 0.5, -1.0, -3.0, -9.0]])
    for top_p in (0.3, 0.6, 0.8, 0.95):
        support = (reference(logits, top_p, 0) > 0)[0]
        assert torch.equal(frequencies(logits, top_p, 0) > 0, support)


def test_each_row_draws_from_its_own_distribution():
    logits = torch.full((3, 6), -torch.inf)
    logits[[0, 1, 2], [5, 0, 3]] = 0.0
    uniforms = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    assert sample_tokens(logits, uniforms, top_p=0.9).tolist() == [5, 0, 3]


@pytest.mark.parametrize("top_p", [1.0, 0.9])
@pytest.mark.parametrize("uniform", [0.0, np.nextafter(1.0, 0.0)])
def test_a_forbidden_token_is_not_drawn_at_the_ends_of_the_range(top_p, uniform):
    logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(0))
    logits[0, [0, -1]] = -torch.inf
    uniforms = torch.full((1, 4), uniform, dtype=torch.float64)
    assert sample_tokens(logits, uniforms, top_p).item() not in (0, 49)


@pytest.mark.parametrize("top_p", [0.9, 0.5, 0.1])
def test_the_first_draw_inside_the_nucleus_counts(top_p):
    """By the form without a wait, that a GPU takes, by the one for a CPU, and by a sort, from the same draws."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(400, 60, generator=generator) * 3
    uniforms = torch.rand(400, tries(top_p), generator=generator)
    probabilities = logits.softmax(-1)
    cumulative = probabilities.cumsum(-1)
    draws = torch.searchsorted(cumulative, uniforms * cumulative[:, -1:], right=True).clamp(max=59)
    found = first_inside(probabilities, draws, top_p * cumulative[:, -1:])
    assert torch.equal(found, sample_tokens(logits, uniforms, top_p))
    nucleus = reference(logits, top_p, 0) > 0
    expected = [next(t for t in row.tolist() if inside[t]) for row, inside in zip(draws, nucleus, strict=True)]
    assert found.tolist() == expected


def test_where_no_draw_lies_inside_the_most_probable_one_is_taken():
    probabilities = torch.tensor([[0.7, 0.2, 0.06, 0.04]])
    assert first_inside(probabilities, torch.tensor([[3, 1, 2]]), torch.tensor([[0.5]])).tolist() == [1]
