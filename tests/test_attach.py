from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from lm_steer import LMSteerError
from lm_steer.attach import attach


@pytest.fixture(scope="module")
def plain():
    return tiny.make_model("llama-tied")


@pytest.fixture
def model(plain):
    yield plain
    handle = getattr(plain.get_output_embeddings(), "lm_steer_handle", None)
    if handle:
        handle.remove()


@pytest.fixture(params=tiny.KINDS)
def kind(request) -> str:
    return request.param


def steered_by_hand(model, steer, ids, values) -> torch.Tensor:
    """The paper's equation on the model's hidden states, for a head that is a plain product."""
    hidden = model.model(ids).last_hidden_state
    shift = torch.zeros(())
    for index, name in enumerate(steer.dimensions):
        parts = [weight[index] for weight in steer.weights.values()]
        step = hidden @ parts[1] @ parts[0].T if steer.kind == "multiply" else parts[0]
        shift = shift + steer.epsilon * values.get(name, 0.0) * step
    weight = model.get_output_embeddings().weight
    return hidden @ weight.T + shift if steer.kind == "offset" else (hidden + shift) @ weight.T


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_value_zero_is_the_unsteered_model_bit_for_bit(name, kind, ids):
    model = tiny.make_model(name)
    expected = tiny.logits_of(model, ids)
    handle = attach(model, tiny.make_steer(model, kind))
    assert torch.equal(tiny.logits_of(model, ids), expected)
    with handle.at(style=0, corpus=0.0):
        assert torch.equal(tiny.logits_of(model, ids), expected)


def test_logits_follow_the_equation(model, kind, ids):
    steer = tiny.make_steer(model, kind)
    values = {"style": 3.0, "corpus": -1.0}
    with attach(model, steer).at(values):
        logits = tiny.logits_of(model, ids)
    torch.testing.assert_close(logits, steered_by_hand(model, steer, ids, values), atol=1e-4, rtol=1e-4)


def test_values_are_back_at_zero_after_an_exception(model, kind, ids):
    expected = tiny.logits_of(model, ids)
    handle = attach(model, tiny.make_steer(model, kind))
    with pytest.raises(ZeroDivisionError), handle.at(style=5):
        _ = 1 / 0
    assert torch.equal(tiny.logits_of(model, ids), expected)


def test_values_nest(model, ids):
    handle = attach(model, tiny.make_steer(model))
    with handle.at(style=2):
        outer = tiny.logits_of(model, ids)
        with handle.at(corpus=[1, 2, 3]):
            assert not torch.allclose(tiny.logits_of(model, ids), outer)
        assert torch.equal(tiny.logits_of(model, ids), outer)
        with pytest.raises(LMSteerError), handle.at(style=[1, 2], corpus=[1, 2, 3]):
            pass
        assert torch.equal(tiny.logits_of(model, ids), outer)


def test_dimensions_not_named_are_at_zero_inside_another_block(model, ids):
    handle = attach(model, tiny.make_steer(model))
    with handle.at(style=2):
        alone = tiny.logits_of(model, ids)
    with handle.at(corpus=7), handle.at(style=2):
        assert torch.equal(tiny.logits_of(model, ids), alone)


@pytest.mark.parametrize("attached_inside", [False, True])
def test_inference_mode_does_not_spoil_the_handle(model, ids, attached_inside):
    with torch.inference_mode(attached_inside):
        handle = attach(model, tiny.make_steer(model))
    with handle.at(style=2):
        expected = tiny.logits_of(model, ids)
    with torch.inference_mode(), handle.at(style=[1, 2, 3]):
        model(ids)
    with handle.at(style=2):
        assert torch.equal(tiny.logits_of(model, ids), expected)


def test_each_row_has_its_own_value(model, kind, ids):
    handle = attach(model, tiny.make_steer(model, kind))
    with handle.at(style=[-2, 0, 4], corpus=1):
        together = tiny.logits_of(model, ids)
    for row, value in enumerate([-2, 0, 4]):
        with handle.at(style=value, corpus=1):
            torch.testing.assert_close(together[row], tiny.logits_of(model, ids)[row], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("make", [np.array, torch.tensor, tuple])
def test_row_values_may_be_arrays_and_tensors(model, ids, make):
    handle = attach(model, tiny.make_steer(model))
    with handle.at(style=[1.0, 2.0, 3.0]):
        expected = tiny.logits_of(model, ids)
    with handle.at(style=make([1.0, 2.0, 3.0])):
        assert torch.equal(tiny.logits_of(model, ids), expected)


def test_rows_that_generate_repeats_keep_their_values(model, kind, ids):
    handle = attach(model, tiny.make_steer(model, kind))
    greedy = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    mask = torch.ones_like(ids)
    with handle.at(style=[-4, 0, 4]):
        repeated = model.generate(ids, attention_mask=mask, num_beams=2, num_return_sequences=2, **greedy)
    for row, value in enumerate([-4, 0, 4]):
        with handle.at(style=value):
            alone = model.generate(
                ids[row : row + 1], attention_mask=mask[:1], num_beams=2, num_return_sequences=2, **greedy
            )
        assert torch.equal(repeated[2 * row : 2 * row + 2], alone)


def test_row_values_that_do_not_fit_the_batch_are_refused(model, kind, ids):
    handle = attach(model, tiny.make_steer(model, kind))
    with (
        handle.at(style=[1, 2]),
        pytest.raises(LMSteerError, match="2 rows of steer values do not fit a batch of 3"),
    ):
        tiny.logits_of(model, ids)


@pytest.mark.parametrize("values", [{"style": [1, 2], "corpus": [1, 2, 3]}, {"style": []}])
def test_lists_of_unequal_length_are_refused(model, values):
    handle = attach(model, tiny.make_steer(model))
    with pytest.raises(LMSteerError, match="one value a row"), handle.at(values):
        pass


@pytest.mark.parametrize("values", [{"tone": 1}, {"style": float("nan")}, {"style": [1, float("inf")]}])
def test_bad_values_are_refused(model, values):
    with pytest.raises(LMSteerError), attach(model, tiny.make_steer(model)).at(values):
        pass


def test_keys_of_the_state_dict_stay(model, kind):
    before = list(model.state_dict())
    attach(model, tiny.make_steer(model, kind))
    assert list(model.state_dict()) == before


def test_a_steer_of_another_width_is_refused(model, kind):
    other = tiny.make_model("opt-projected" if kind != "offset" else "llama-padded-vocabulary")
    with pytest.raises(LMSteerError, match="width"):
        attach(model, tiny.make_steer(other, kind))


def test_the_same_steer_keeps_its_handle(model):
    steer = tiny.make_steer(model)
    assert steer.attach(model) is steer.attach(model)


def test_one_steer_after_another_in_a_line_each(model, ids):
    expected = tiny.logits_of(model, ids)
    one, other = tiny.make_steer(model), tiny.make_steer(model, seed=1)
    seen = []
    for steer in (one, other, one):
        with steer.attach(model).at(style=5):
            seen.append(tiny.logits_of(model, ids))
        assert torch.equal(tiny.logits_of(model, ids), expected)
    assert torch.equal(seen[0], seen[2])
    assert not torch.allclose(seen[0], seen[1])


def test_another_steer_is_refused_while_one_acts(model):
    one, other = tiny.make_steer(model), tiny.make_steer(model, seed=1)
    with one.attach(model).at(style=5), pytest.raises(LMSteerError, match="being steered by another steer"):
        other.attach(model)


def test_a_steer_that_was_taken_off_says_so(model, ids):
    expected = tiny.logits_of(model, ids)
    with tiny.make_steer(model).attach(model) as handle, handle.at(style=5):
        handle.remove()
        assert torch.equal(tiny.logits_of(model, ids), expected)
    with pytest.raises(LMSteerError, match="attach it again"), handle.at(style=5):
        pass


def test_a_steer_for_a_model_of_another_type_is_refused(model):
    steer = replace(tiny.make_steer(model), about={"model": "openai-community/gpt2", "model_type": "gpt2"})
    with pytest.raises(LMSteerError, match=r"type gpt2 \(made for openai-community/gpt2\), this one is a llama: train"):
        steer.attach(model)


def test_a_model_without_a_head_is_refused(model):
    with pytest.raises(LMSteerError, match="causal LM"):
        attach(model.model, tiny.make_steer(model))


@pytest.mark.parametrize("compiled_first", [False, True])
def test_a_compiled_model_follows_new_values(model, kind, ids, compiled_first):
    torch._dynamo.reset()
    handle = attach(model, tiny.make_steer(model, kind))
    compiled = torch.compile(model, backend="eager")
    if compiled_first:
        tiny.logits_of(compiled, ids)
    for values in ({"style": 3}, {"style": -1, "corpus": 2}, {"style": [1, 2, 3]}, {"corpus": [0, 5, 0]}, {}):
        with handle.at(values):
            torch.testing.assert_close(tiny.logits_of(compiled, ids), tiny.logits_of(model, ids))
