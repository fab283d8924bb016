import asyncio
import copy
import gc
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from io import BytesIO
from itertools import permutations

import numpy as np
import pytest
import tiny
import torch

from lm_steer import LMSteerError
from lm_steer.core.attach import attach
from lm_steer.core.fold import fold


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
    with pytest.raises(LMSteerError, match="one value per row"), handle.at(values):
        pass


BAD = [
    {"tone": 1},
    {"style": float("nan")},
    {"style": [1, float("inf")]},
    {"style": "5"},
    {"style": b"5"},
    {"style": True},
    {5: 1},
]
BAD += [{"style": None}, {"style": [[1, 2]]}, {"style": torch.ones(2, 2)}, {"style": 1e39}, 5, "style", ["style"]]


@pytest.mark.parametrize("values", BAD, ids=repr)
def test_bad_values_are_refused(model, ids, values):
    expected = tiny.logits_of(model, ids)
    handle = attach(model, tiny.make_steer(model))
    with pytest.raises(LMSteerError), handle.at(values):
        pass
    with pytest.raises(LMSteerError):
        handle.set(values)
    assert torch.equal(tiny.logits_of(model, ids), expected)


def steered(model, handle, ids, value) -> torch.Tensor:
    with handle.at(style=value):
        return tiny.logits_of(model, ids)


def streamed(model, handle, ids, value):
    """Logits of a model that is steered for as long as the generator lives."""
    with handle.at(style=value):
        for _ in range(3):
            yield tiny.logits_of(model, ids)


REFUSED = "a thread or generator cannot open a `with` block of this steer inside another's"


def test_threads_take_turns(model, ids):
    handle = attach(model, tiny.make_steer(model))
    plain, expected = tiny.logits_of(model, ids), {value: steered(model, handle, ids, value) for value in (-5, 5)}
    right, wrong, refused = [], [], []

    def work(value):
        for _ in range(50):
            try:
                (right if torch.equal(steered(model, handle, ids, value), expected[value]) else wrong).append(value)
            except LMSteerError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=work, args=(value,)) for value in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(right) + len(refused) == 100 and all(REFUSED in message for message in refused)
    assert torch.equal(tiny.logits_of(model, ids), plain)


def test_a_thread_is_refused_while_another_is_in_a_block(model, ids):
    handle = attach(model, tiny.make_steer(model))
    expected = steered(model, handle, ids, 5)

    def other_thread(function, *arguments):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(function, *arguments).result()

    with handle.at(style=5):
        with pytest.raises(LMSteerError, match=REFUSED):
            other_thread(steered, model, handle, ids, -5)
        # As where `generate` runs in a thread and streams its text to this one.
        assert torch.equal(other_thread(tiny.logits_of, model, ids), expected)
    assert not torch.equal(other_thread(steered, model, handle, ids, -5), expected)


def test_interleaved_generators_are_refused(model, ids):
    handle = attach(model, tiny.make_steer(model))
    plain, expected = tiny.logits_of(model, ids), steered(model, handle, ids, 5)
    one, other = streamed(model, handle, ids, 5), streamed(model, handle, ids, -5)
    assert torch.equal(next(one), expected)
    with pytest.raises(LMSteerError, match=REFUSED):
        next(other)
    with pytest.raises(LMSteerError, match=REFUSED):
        steered(model, handle, ids, -5)
    assert all(torch.equal(logits, expected) for logits in one)
    assert torch.equal(tiny.logits_of(model, ids), plain)


def test_a_generator_does_not_change_the_values_around_it(model, ids):
    handle = attach(model, tiny.make_steer(model))
    expected = steered(model, handle, ids, 5)
    with handle.at(style=5):
        with pytest.raises(LMSteerError, match=REFUSED):
            next(streamed(model, handle, ids, -5))
        assert torch.equal(tiny.logits_of(model, ids), expected)


def test_a_value_is_given_once(model):
    with pytest.raises(LMSteerError, match="'style' is given twice"):
        attach(model, tiny.make_steer(model)).at({"style": 5}, style=5)


def test_a_forgotten_generator_leaves_its_block(model, ids):
    handle = attach(model, tiny.make_steer(model))
    plain = tiny.logits_of(model, ids)
    generator = streamed(model, handle, ids, 5)
    next(generator)
    del generator
    gc.collect()
    assert torch.equal(tiny.logits_of(model, ids), plain)
    steered(model, handle, ids, 5)


def test_interleaved_coroutines_are_refused(model, ids):
    handle = attach(model, tiny.make_steer(model))
    plain, expected = tiny.logits_of(model, ids), steered(model, handle, ids, 5)

    async def work(value):
        with handle.at(style=value):
            await asyncio.sleep(0)
            return tiny.logits_of(model, ids)

    async def both():
        return await asyncio.gather(work(5), work(-5), return_exceptions=True)

    done, refused = asyncio.run(both())
    assert torch.equal(done, expected) and REFUSED in str(refused)
    assert torch.equal(tiny.logits_of(model, ids), plain)


def test_a_block_is_used_again_and_as_a_decorator(model, ids):
    handle = attach(model, tiny.make_steer(model))
    plain, expected = tiny.logits_of(model, ids), steered(model, handle, ids, 5)
    block = handle.at(style=5)

    @handle.at(style=5)
    def decorated():
        return tiny.logits_of(model, ids)

    for _ in range(2):
        with block, block:
            assert torch.equal(tiny.logits_of(model, ids), expected)
        assert torch.equal(decorated(), expected)
        assert torch.equal(tiny.logits_of(model, ids), plain)
    handle.remove()
    with pytest.raises(LMSteerError, match="attach it again"), block:
        pass


def test_a_generator_may_open_blocks_within_its_own(model, ids):
    handle = attach(model, tiny.make_steer(model))
    expected = [steered(model, handle, ids, value) for value in (2, 7, 2)]

    def nested():
        with handle.at(style=2):
            yield tiny.logits_of(model, ids)
            yield steered(model, handle, ids, 7)
            yield tiny.logits_of(model, ids)

    assert all(map(torch.equal, nested(), expected))


def test_context_managers_of_ones_own_nest(model, ids):
    handle = attach(model, tiny.make_steer(model))
    plain, inner, outer = tiny.logits_of(model, ids), steered(model, handle, ids, 7), steered(model, handle, ids, 2)

    @contextmanager
    def mine(value):
        with handle.at(style=value), ExitStack() as stack:
            stack.enter_context(handle.at(style=value))
            yield

    with mine(2):
        with mine(7):
            assert torch.equal(tiny.logits_of(model, ids), inner)
        assert torch.equal(tiny.logits_of(model, ids), outer)
        assert torch.equal(steered(model, handle, ids, 7), inner)
    assert torch.equal(tiny.logits_of(model, ids), plain)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_blocks_may_end_in_any_order(model, ids, order):
    handle = attach(model, tiny.make_steer(model)).set(style=1)
    around, values = tiny.logits_of(model, ids), (2, 3, 4)
    expected = [steered(model, handle, ids, value) for value in values]
    blocks = [handle.at(style=value) for value in values]
    for block in blocks:
        block.__enter__()
    remaining = [0, 1, 2]
    for index in order:
        blocks[index].__exit__(None, None, None)
        remaining.remove(index)
        assert torch.equal(tiny.logits_of(model, ids), expected[remaining[-1]] if remaining else around)
    handle.reset()


def test_values_may_be_set_until_they_are_reset(model, kind, ids):
    handle = attach(model, tiny.make_steer(model, kind))
    plain, expected = tiny.logits_of(model, ids), steered(model, handle, ids, 5)
    assert handle.set(style=5) is handle
    assert torch.equal(tiny.logits_of(model, ids), expected)
    assert torch.equal(steered(model, handle, ids, 0), plain)
    assert torch.equal(tiny.logits_of(model, ids), expected)
    handle.set({"style": [5, 0, 5]})
    torch.testing.assert_close(tiny.logits_of(model, ids)[:2], torch.stack([expected[0], plain[1]]))
    handle.reset()
    assert torch.equal(tiny.logits_of(model, ids), plain)


def test_lasting_values_are_not_set_inside_a_block(model, ids):
    handle = attach(model, tiny.make_steer(model))
    with handle.at(style=5):
        expected = tiny.logits_of(model, ids)
        for change in (handle.reset, lambda: handle.set(style=1)):
            with pytest.raises(LMSteerError, match="leave it first"):
                change()
        assert torch.equal(tiny.logits_of(model, ids), expected)


def test_another_steer_is_refused_while_one_is_set(model):
    handle = attach(model, tiny.make_steer(model)).set(style=5)
    with pytest.raises(LMSteerError, match="`reset` it"):
        attach(model, tiny.make_steer(model, seed=1))
    handle.reset()
    attach(model, tiny.make_steer(model, seed=1))


def resized(model, steer):
    model.resize_token_embeddings(tiny.VOCABULARY + 8, mean_resizing=False)
    return model


def with_another_head(model, steer):
    head = model.get_output_embeddings()
    model.set_output_embeddings(torch.nn.Linear(head.in_features, head.out_features, bias=False))
    return model


def with_a_folded_head(model, steer):
    fold(model, steer, {"style": 2})
    return model


def with_a_lora_of_the_head(model, steer):
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(model, peft.LoraConfig(target_modules=["lm_head"], init_lora_weights=False))


def with_a_trained_copy_of_the_head(model, steer):
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"]))


CHANGES = [resized, with_another_head, with_a_folded_head, with_a_lora_of_the_head, with_a_trained_copy_of_the_head]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["multiply", "offset"])
def test_a_steer_whose_head_was_replaced_says_so_and_is_attached_again(ids, change, kind):
    model = tiny.make_model("llama")
    steer = tiny.make_steer(model, kind)
    handle = attach(model, steer)
    changed = change(model, steer)
    assert not handle.attached
    plain = tiny.logits_of(changed, ids)
    for use in (lambda: handle.at(style=5).__enter__(), lambda: handle.set(style=5)):
        with pytest.raises(LMSteerError, match="attach it again"):
            use()
    assert torch.equal(tiny.logits_of(changed, ids), plain)
    if change is resized:
        steer = tiny.make_steer(changed, kind)
    again = attach(changed, steer)
    assert torch.equal(tiny.logits_of(changed, ids), plain)
    # Once, and not by both handles.
    head, seen = changed.get_output_embeddings(), []
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    tiny.logits_of(changed, ids)
    hook.remove()
    with again.at(style=5):
        logits = tiny.logits_of(changed, ids)
    shift = 5 * steer.epsilon * steer.weights["o"][0] if kind == "offset" else 0
    matrix = 5 * steer.epsilon * (steer.weights["B"][0] @ steer.weights["A"][0].T) if kind == "multiply" else 0
    again.remove()
    with torch.no_grad():
        expected = head(seen[0] + (seen[0] @ matrix if kind == "multiply" else 0)) + shift
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_a_tied_head_that_is_resized_in_place_keeps_the_steers_that_fit(ids):
    model = tiny.make_model("llama-tied")
    handle = attach(model, tiny.make_steer(model))
    expected = steered(model, handle, ids, 5)
    model.resize_token_embeddings(tiny.VOCABULARY + 8, mean_resizing=False)
    torch.testing.assert_close(steered(model, handle, ids, 5)[..., : tiny.VOCABULARY], expected)
    model = tiny.make_model("llama-tied")
    handle = attach(model, tiny.make_steer(model, "offset"))
    model.resize_token_embeddings(tiny.VOCABULARY + 8, mean_resizing=False)
    with pytest.raises(LMSteerError, match="vocabulary is 328"), handle.at(style=5):
        pass


def test_a_model_is_freed_with_its_last_user(ids):
    model = tiny.make_model("llama")
    handle = attach(model, tiny.make_steer(model))
    gone = weakref.ref(model)
    steered(model, handle, ids, 5)
    del model
    gc.collect()
    assert gone() is None


def pickled(model):
    buffer = BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("inference", [False, True])
def test_a_copy_of_a_steered_model_has_a_steer_of_its_own(kind, ids, duplicate, inference):
    model = tiny.make_model("llama-tied")
    steer = tiny.make_steer(model, kind)
    plain = tiny.logits_of(model, ids)
    handle = attach(model, steer)
    with torch.inference_mode(inference), handle.at(style=5):
        expected = tiny.logits_of(model, ids).clone()
        twin = duplicate(model)
        assert torch.equal(tiny.logits_of(twin, ids), plain)
    with handle.at(style=-3):
        assert torch.equal(tiny.logits_of(twin, ids), plain)
    own = attach(twin, steer)
    assert own is not handle and own is attach(twin, steer) and own.attached
    with own.at(style=5):
        assert torch.equal(tiny.logits_of(twin, ids), expected)
        assert torch.equal(tiny.logits_of(model, ids), plain)
    own.remove()
    assert torch.equal(tiny.logits_of(twin, ids), plain)
    with handle.at(style=5):
        assert torch.equal(tiny.logits_of(model, ids), expected)


def test_a_pickle_keeps_the_values_that_were_set(model, ids):
    handle = attach(model, tiny.make_steer(model)).set(style=5)
    expected = tiny.logits_of(model, ids)
    twin = pickled(model)
    handle.reset()
    assert torch.equal(tiny.logits_of(twin, ids), expected)
    attach(twin, tiny.make_steer(model)).reset()
    assert torch.equal(tiny.logits_of(twin, ids), tiny.logits_of(model, ids))


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
    with one.attach(model).at(style=5), pytest.raises(LMSteerError, match="another steer is active on the model"):
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
    with pytest.raises(LMSteerError, match=r"type gpt2 \(made for openai-community/gpt2\), not llama: train"):
        steer.attach(model)


def test_what_is_no_steer_or_no_model_is_refused(model):
    for model_or_steer, steer_or_model in ((model, None), (tiny.make_steer(model), model), (model, "steer")):
        with pytest.raises(LMSteerError, match="expected a Steer"):
            attach(model_or_steer, steer_or_model)
    for nothing in (None, "model"):
        with pytest.raises(LMSteerError, match="needs a causal LM"):
            attach(nothing, tiny.make_steer(model))


def test_a_model_without_a_head_is_refused(model):
    with pytest.raises(LMSteerError, match="causal LM"):
        attach(model.model, tiny.make_steer(model))


@pytest.mark.parametrize("compiled_first", [False, True])
def test_a_compiled_model_follows_new_values(model, kind, ids, compiled_first):
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager")
    handle = attach(compiled if compiled_first else model, tiny.make_steer(model, kind))
    if compiled_first:
        tiny.logits_of(compiled, ids)
    for values in ({"style": 3}, {"style": -1, "corpus": 2}, {"style": [1, 2, 3]}, {"corpus": [0, 5, 0]}, {}):
        with handle.at(values):
            torch.testing.assert_close(tiny.logits_of(compiled, ids), tiny.logits_of(model, ids))
