import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM

from lm_steer import LMSteerError
from lm_steer.core.attach import attach
from lm_steer.core.fold import fold

VALUES = {"style": 3.0, "corpus": 1.0}
# `add` and `offset` fold into a bias, which transformers loads only for an architecture whose head has one.
SAVED = [*((name, "multiply") for name in tiny.CONFIGS), ("gpt-j", "add"), ("gpt-j", "offset")]


@pytest.fixture(params=tiny.CONFIGS)
def name(request) -> str:
    return request.param


@pytest.fixture(params=tiny.KINDS)
def kind(request) -> str:
    return request.param


def hooked_logits(model, steer, ids) -> torch.Tensor:
    handle = attach(model, steer)
    with handle.at(VALUES):
        logits = tiny.logits_of(model, ids)
    handle.remove()
    return logits


def folded(name: str, kind: str, ids):
    """Return a folded model, and the logits that the hook gave before."""
    model = tiny.make_model(name)
    steer = tiny.make_steer(model, kind)
    plain, expected = tiny.logits_of(model, ids), hooked_logits(model, steer, ids)
    assert (expected - plain).abs().max() > 0.1, "the steer is too weak for the comparison to mean anything"
    fold(model, steer, VALUES)
    return model, expected


def assert_same(logits: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(logits, expected, atol=2e-4, rtol=1e-4)


def test_folded_equals_hooked(name, kind, ids):
    model, expected = folded(name, kind, ids)
    assert_same(tiny.logits_of(model, ids), expected)


@pytest.mark.parametrize("name, kind", SAVED)
def test_folded_survives_saving(name, kind, ids, tmp_path):
    model, expected = folded(name, kind, ids)
    model.save_pretrained(tmp_path)
    assert_same(tiny.logits_of(AutoModelForCausalLM.from_pretrained(tmp_path).eval(), ids), expected)


def test_tying_weights_does_not_undo_a_fold(name, kind, ids):
    model, expected = folded(name, kind, ids)
    model.tie_weights()
    assert_same(tiny.logits_of(model, ids), expected)


def test_resizing_embeddings_does_not_undo_a_fold(name, kind, ids):
    model, expected = folded(name, kind, ids)
    vocabulary = expected.shape[-1]
    model.resize_token_embeddings(vocabulary + 8, mean_resizing=False)
    assert_same(tiny.logits_of(model, ids)[..., :vocabulary], expected)


def test_input_embeddings_stay(name, kind, ids):
    model = tiny.make_model(name)
    before = model.get_input_embeddings().weight.clone()
    fold(model, tiny.make_steer(model, kind), VALUES)
    assert torch.equal(model.get_input_embeddings().weight, before)


def test_values_of_zero_fold_to_the_same_weights(name):
    model = tiny.make_model(name)
    before = model.get_output_embeddings().weight.clone()
    fold(model, tiny.make_steer(model), {})
    assert torch.equal(model.get_output_embeddings().weight, before)


def test_the_folded_head_is_frozen():
    model = tiny.make_model("llama")
    assert not any(p.requires_grad for p in fold(model, tiny.make_steer(model, "add"), VALUES).parameters())


def test_a_steer_of_another_width_is_refused(kind):
    other = tiny.make_model("opt-projected" if kind != "offset" else "llama-padded-vocabulary")
    with pytest.raises(LMSteerError, match="width"):
        fold(tiny.make_model("llama"), tiny.make_steer(other, kind), VALUES)


def test_an_unknown_dimension_leaves_the_model_alone(ids):
    model = tiny.make_model("llama")
    before = tiny.logits_of(model, ids)
    with pytest.raises(LMSteerError, match="no dimension 'tone'"):
        fold(model, tiny.make_steer(model), {"tone": 1})
    assert torch.equal(tiny.logits_of(model, ids), before)


def test_a_fold_takes_off_a_steer_that_is_attached_and_waits_for_one_that_acts(ids):
    model = tiny.make_model("llama")
    steer = tiny.make_steer(model)
    expected, handle = hooked_logits(model, steer, ids), attach(model, steer)
    with handle.at(VALUES), pytest.raises(LMSteerError, match="another steer is active"):
        fold(model, steer, VALUES)
    handle.set(VALUES)
    with pytest.raises(LMSteerError, match="another steer is active"):
        fold(model, steer, VALUES)
    handle.reset()
    fold(model, steer, VALUES)
    assert_same(tiny.logits_of(model, ids), expected)
    with pytest.raises(LMSteerError, match="attach it again"), handle.at(VALUES):
        pass


def test_a_fold_that_overflows_is_refused_and_leaves_the_model(ids):
    model = tiny.make_model("llama")
    plain = tiny.logits_of(model, ids)
    with pytest.raises(LMSteerError, match="overflows float32"):
        fold(model, tiny.make_steer(model), {"style": 1e38})
    assert torch.equal(tiny.logits_of(model, ids), plain)
