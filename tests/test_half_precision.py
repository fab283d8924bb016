"""Models in half precision: all stays right to the rounding of their dtype, and steers are float32 throughout."""

import sqlite3
from dataclasses import replace

import pytest
import tiny
import torch

from lm_steer.analyse.directions import directions
from lm_steer.analyse.grid import grid_nll
from lm_steer.core.attach import attach
from lm_steer.core.fold import fold
from lm_steer.generation.continuations import Sampling, continuations
from lm_steer.model.hidden_cache import HiddenMemo
from lm_steer.model.kernels import NAME
from lm_steer.model.load import LoadedModel
from lm_steer.score.perplexity import causal_lm
from lm_steer.score.store import Item
from lm_steer.training.learn import LabelledTexts, Recipe, learn, steered_nll

TEXTS = LabelledTexts(tiny.SENTENCES, [1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
RECIPE = Recipe(("style", "corpus"), rank=4, steps=30, batch_size=6, epsilon=0.01, learning_rate=0.02)
# How far results may be from those in single precision: some roundings of 8 or 11 bits.
TOLERANCE = {"bfloat16": 3e-2, "float16": 4e-3}


@pytest.fixture(params=TOLERANCE)
def dtype(request) -> str:
    return request.param


@pytest.fixture(params=["llama-padded-vocabulary", "gpt2", "gemma2"])
def pair(request, make_loaded, dtype) -> tuple[LoadedModel, LoadedModel]:
    """The same model in half precision, and in single precision with the same rounded weights."""
    half, single = make_loaded(request.param, dtype), make_loaded(request.param)
    single.model.load_state_dict({name: weight.float() for name, weight in half.model.state_dict().items()})
    return half, single


def close(found: torch.Tensor, expected: torch.Tensor, dtype: str) -> bool:
    found, expected = found.detach().float(), expected.detach().float()
    return (found - expected).norm() <= TOLERANCE[dtype] * expected.norm()


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_an_attached_steer_and_its_fold_act_as_in_single_precision(pair, dtype, kind, ids):
    half, single = pair
    values = {"style": 2.0, "corpus": 1.0}
    logits = []
    for loaded in pair:
        with attach(loaded.model, tiny.make_steer(loaded.model, kind)).at(values):
            logits.append(tiny.logits_of(loaded.model, ids))
    assert logits[0].dtype == getattr(torch, dtype) and close(logits[0], logits[1], dtype)
    half.model.get_output_embeddings().lm_steer_handle.remove()
    fold(half.model, tiny.make_steer(single.model, kind), values)
    assert close(tiny.logits_of(half.model, ids), logits[1], dtype)


def test_kept_states_are_the_models_own_and_take_half_the_room(make_loaded, dtype, tmp_path):
    loaded = make_loaded("llama-padded-vocabulary", dtype)
    memo = HiddenMemo(tmp_path / "hidden.sqlite", loaded, 64)
    memo.ensure(tiny.SENTENCES, "test")
    ids = loaded.tokenizer(tiny.SENTENCES[0], return_tensors="pt")["input_ids"]
    state = memo.state(tiny.SENTENCES[0])
    assert state.dtype == getattr(torch, dtype)
    assert close(state, loaded.model.model(ids).last_hidden_state[0], dtype)
    (size,) = sqlite3.connect(memo.path).execute("SELECT max(length(state)) FROM states").fetchone()
    assert size <= 2 * state.shape[1] * 64


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_loss_and_gradients_are_those_of_single_precision(make_loaded, dtype, kind):
    from lm_steer.model.head import head_of

    head = head_of(make_loaded("llama-padded-vocabulary", dtype).model)
    exact = replace(head, weight=head.weight.float())
    vocabulary, width = head.weight.shape
    steer = tiny.make_steer(make_loaded("llama-padded-vocabulary").model, kind)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(20, width, generator=generator).to(head.weight.dtype)
    targets = torch.randint(vocabulary, (20,), generator=generator)
    values = torch.randn(20, 2, generator=generator)
    results = []
    for one, states in ((head, hidden), (exact, hidden.float())):
        weights = {name: weight.clone().requires_grad_() for name, weight in steer.weights.items()}
        nll = steered_nll(one, kind, weights, steer.epsilon, states, targets, values)
        nll.sum().backward()
        assert nll.dtype == torch.float32
        results.append((nll, [weight.grad for weight in weights.values()]))
    (nll, grads), (expected, expected_grads) = results
    assert close(nll, expected, dtype)
    for grad, wanted in zip(grads, expected_grads, strict=True):
        assert grad.dtype == torch.float32 and close(grad, wanted, dtype)


@pytest.mark.parametrize("loss_on_padding", [False, True])
def test_a_training_follows_the_one_in_single_precision(make_loaded, dtype, tmp_path, loss_on_padding):
    recipe = replace(RECIPE, loss_on_padding=loss_on_padding)
    logs = []
    for loaded in (make_loaded("gpt2", dtype), make_loaded("gpt2")):
        steer, log = learn(loaded, TEXTS, TEXTS, recipe, tmp_path)
        assert all(weight.dtype == torch.float32 for weight in steer.weights.values())
        logs.append(log)
    found, expected = ([row["loss"] for row in log[1:]] for log in logs)
    assert expected[-1] < expected[0] - 0.3
    assert found == pytest.approx(expected, rel=2 * TOLERANCE[dtype])


def test_perplexity_and_continuations(pair, dtype):
    half, single = pair
    items = [Item("The movie", " was a joy to watch."), Item("What a waste", " of time; the plot makes no sense.")]
    found, expected = (dict(causal_lm(loaded, "tiny").judge(items)) for loaded in pair)
    for index in range(len(items)):
        assert found[index] == (pytest.approx(expected[index][0], rel=TOLERANCE[dtype]), expected[index][1])
    sampling = Sampling(samples=2, new_tokens=4, top_p=0.9)
    made = [
        continuations(loaded, ["The movie", "A warm and funny"], sampling, "test") for loaded in (half, half, single)
    ]
    assert made[0] == made[1] and all(len(samples) == 2 for samples in made[0])
    # Random numbers are the same, so that only a rounding at the edge of a token's interval changes it.
    same = sum(a == b for one, other in zip(made[0], made[2], strict=True) for a, b in zip(one, other, strict=True))
    assert same >= 2


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_texts_under_a_grid_of_values(pair, dtype, kind):
    grid = [{}, {"style": 2.0, "corpus": 1.0}]
    found, expected = (grid_nll(one, tiny.make_steer(one.model, kind), tiny.SENTENCES[:2], grid) for one in pair)
    for half, single in zip(found, expected, strict=True):
        assert half.dtype == torch.float32 and close(half, single, dtype)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt-neox", "opt-projected", "granite", "cohere"])
def test_one_tokens_attention_is_torchs(make_loaded, dtype, name):
    quick, plain = make_loaded(name, dtype), make_loaded(name, dtype)
    assert quick.model.config._attn_implementation == NAME
    plain.model.set_attn_implementation("sdpa")
    # Of unequal lengths, so that some rows have padding that must not be seen.
    prompts = ["The movie", "A warm and funny film", "What a waste of two hours of my life"]
    logits = []
    for loaded in (quick, plain):
        loaded.tokenizer.padding_side = "left"
        batch = loaded.tokenizer(prompts, return_tensors="pt", padding=True)
        positions = (batch["attention_mask"].cumsum(-1) - 1).clamp_min(0)
        with torch.no_grad():
            cache = loaded.model(**batch, position_ids=positions)[loaded.cache_name]
            token = torch.full((3, 1), 7)
            seen = torch.cat([batch["attention_mask"], torch.ones_like(token)], dim=1)
            options = {"position_ids": positions[:, -1:] + 1, loaded.cache_name: cache}
            out = loaded.model(token, attention_mask=seen, **options)
        logits.append(out.logits[:, -1])
    assert close(logits[0], logits[1], dtype)


def test_directions_are_those_of_single_precision(pair, dtype):
    found, expected = (
        directions(tiny.make_steer(one.model), one, "style", texts=tiny.SENTENCES, count=2, words=3) for one in pair
    )
    for half, single in zip(found, expected, strict=True):
        assert half.singular_value == single.singular_value and half.raised == single.raised
