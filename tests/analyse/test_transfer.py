"""Between two models whose map is known: the target is the source in another basis of its hidden space."""

import copy
from dataclasses import replace

import pytest
import tiny
import torch

from lm_steer import LMSteerError
from lm_steer.analyse.transfer import METHODS, fit_by_adam, least_squares, residual, shared_tokens, transfer
from lm_steer.core.attach import attach
from lm_steer.model.load import LoadedModel


@pytest.fixture
def source(make_loaded) -> LoadedModel:
    return make_loaded("llama")


def in_basis(loaded: LoadedModel, basis: torch.Tensor) -> LoadedModel:
    """The same head in another basis: E' = E basis, so that E' H = E for H = basis⁻¹."""
    weight = loaded.model.get_output_embeddings().weight
    weight.data = weight.data @ basis
    return loaded


def rotation(width: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(2))).Q


def added_logits(loaded: LoadedModel, steer, hidden: torch.Tensor) -> torch.Tensor:
    """What the steer adds to the logits of head inputs (positions, hidden)."""
    handle = attach(loaded.model, steer)
    try:
        with handle.at(style=2, corpus=1), torch.no_grad():
            return handle.head(hidden) - torch.nn.functional.linear(hidden, handle.head.weight)
    finally:
        handle.remove()


@pytest.mark.parametrize("kind", ["multiply", "add"])
@pytest.mark.parametrize("method", ["least-squares", "inverse"])
def test_a_known_rotation_is_recovered(source, make_loaded, method, kind):
    basis = rotation(32)
    target = in_basis(make_loaded("llama"), basis)
    steer = tiny.make_steer(source.model, kind)
    transferred = transfer(steer, source, target, method)
    hidden = torch.randn(5, 32, generator=torch.Generator().manual_seed(3))
    expected = added_logits(source, steer, hidden)
    # A rotation is its own inverse transposed, so both maps are exact.
    torch.testing.assert_close(added_logits(target, transferred, hidden @ basis), expected, rtol=1e-3, atol=1e-3)
    assert transferred.about["transfer"]["residual"] < 1e-8


def test_only_the_inverse_is_exact_where_the_map_is_no_rotation(source, make_loaded):
    basis = rotation(32) * torch.linspace(0.5, 2, 32)
    target = in_basis(make_loaded("llama"), basis)
    steer = tiny.make_steer(source.model)
    hidden = torch.randn(5, 32, generator=torch.Generator().manual_seed(3))
    expected = added_logits(source, steer, hidden)
    there = hidden @ torch.linalg.inv(basis).T

    def error(method: str) -> float:
        return (added_logits(target, transfer(steer, source, target, method), there) - expected).abs().max().item()

    assert error("inverse") < 1e-3 * expected.abs().max().item()
    assert error("least-squares") > 0.1 * expected.abs().max().item()


def test_adam_as_published_finds_the_same_map_with_rows_of_length_one():
    inputs, true = torch.randn(200, 8, generator=torch.Generator().manual_seed(0)), rotation(8)
    outputs = inputs @ true
    fitted = fit_by_adam(inputs, outputs)
    torch.testing.assert_close(fitted, true, rtol=0, atol=1e-3)
    # Rows of another length lose it.
    scaled = fit_by_adam(inputs, 3 * outputs)
    torch.testing.assert_close(scaled.norm(dim=1), torch.ones(8))
    assert residual(inputs, 3 * outputs, least_squares(inputs, 3 * outputs)) < 1e-10


def test_anchors_are_shared_tokens_by_the_sources_ids(source, make_loaded):
    pairs = shared_tokens(source, make_loaded("gpt2"))
    real = [number for number in range(len(source.tokenizer)) if number not in source.tokenizer.all_special_ids]
    assert pairs == [(number, number) for number in real]
    about = transfer(tiny.make_steer(source.model), source, make_loaded("llama"), anchors=64).about
    assert about["transfer"]["anchors"] == 64


def test_bad_input_is_named(source, make_loaded):
    target = make_loaded("gpt2")
    steer = tiny.make_steer(source.model)
    with pytest.raises(LMSteerError, match=f"unknown method of transfer 'magic': choose {', '.join(METHODS)}"):
        transfer(steer, source, target, "magic")
    with pytest.raises(LMSteerError, match="share 10 tokens, fewer than the 32 hidden units"):
        transfer(steer, source, target, anchors=10)
    with pytest.raises(LMSteerError, match="kind offset is a bias on one vocabulary"):
        transfer(tiny.make_steer(source.model, "offset"), source, target)
    narrow = replace(steer, weights={name: weight[:, :9] for name, weight in steer.weights.items()})
    with pytest.raises(LMSteerError, match="the steer has width 9"):
        transfer(narrow, source, target)
    empty = replace(target, model=copy.deepcopy(target.model))
    empty.model.get_output_embeddings().weight.data.zero_()
    with pytest.raises(LMSteerError, match="is all zeros"):
        transfer(steer, source, empty)
