import json
import math
from dataclasses import replace

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from lm_steer import LMSteerError, Steer
from lm_steer.attach import attach
from lm_steer.steer import compose

WIDTH = 8


def steer(*dimensions: str, rank: int = 2, epsilon: float = 0.1, seed: int = 0, kind: str = "multiply") -> Steer:
    shape = (len(dimensions), WIDTH, rank) if kind == "multiply" else (len(dimensions), WIDTH)
    generator = torch.Generator().manual_seed(seed)
    names = {"multiply": "AB", "add": "a", "offset": "o"}[kind]
    return Steer(dimensions, {n: torch.randn(shape, generator=generator) for n in names}, kind, epsilon)


def effect(one: Steer, values: dict[str, float]) -> torch.Tensor:
    """ε Σ v_k A_k B_kᵀ (or ε Σ v_k a_k), the whole of what a steer does, by plain loops."""
    total = torch.zeros(()).double()
    for index, name in enumerate(one.dimensions):
        parts = [weight[index].double() for weight in one.weights.values()]
        total = total + values.get(name, 0.0) * (parts[0] @ parts[1].T if one.kind == "multiply" else parts[0])
    return one.epsilon * total


@pytest.fixture(params=tiny.KINDS)
def kind(request) -> str:
    return request.param


def test_doubled_steer_at_one_is_the_steer_at_two(kind):
    one = steer("style", "corpus", kind=kind)
    torch.testing.assert_close(effect(2 * one, {"style": 1, "corpus": -1}), effect(one, {"style": 2, "corpus": -2}))


def test_steer_minus_itself_is_off(kind):
    one = steer("style", "corpus", kind=kind)
    assert torch.count_nonzero(effect(one - one, {"style": 5, "corpus": 1})) == 0


def test_negated_steer_acts_the_other_way(kind):
    one = steer("style", kind=kind)
    torch.testing.assert_close(effect(-one, {"style": 3}), effect(one, {"style": -3}))


@pytest.mark.parametrize("rank, epsilon", [(2, 0.1), (5, 0.1), (2, 0.03), (1, 2.0)])
def test_a_sum_adds_the_effects_of_dimensions_of_the_same_name(kind, rank, epsilon):
    one = steer("style", "corpus", kind=kind)
    other = steer("corpus", "tone", kind=kind, rank=rank, epsilon=epsilon, seed=1)
    values = {"style": 2.0, "corpus": -1.5, "tone": 0.5}
    expected = effect(one, values) + effect(other, values)
    torch.testing.assert_close(effect(one + other, values), expected, atol=1e-5, rtol=1e-5)


def test_a_sum_keeps_the_order_of_dimensions():
    assert (steer("style", "corpus") + steer("tone", "style")).dimensions == ("style", "corpus", "tone")


def test_a_sum_of_maps_with_the_same_b_does_not_grow_the_rank():
    one = steer("style", rank=3)
    assert (one + 2 * one).rank == 3


def test_a_sum_of_matrices_is_the_concatenation_of_dimensions():
    detox, sentiment = steer("detox"), steer("sentiment", rank=4, seed=1)
    joined = (detox + sentiment).matrix({"detox": 3, "sentiment": -2})
    apart = detox.matrix({"detox": 3}) + sentiment.matrix({"sentiment": -2})
    torch.testing.assert_close(joined, apart, atol=1e-5, rtol=1e-5)


def test_the_algebra_leaves_its_operands_alone():
    one, other = steer("style"), steer("style", seed=1)
    before = {name: weight.clone() for name, weight in one.weights.items()}
    _ = 2 * (one + other) - one
    assert all(torch.equal(one.weights[name], before[name]) for name in before)


def test_steers_of_different_kinds_do_not_add_up():
    with pytest.raises(LMSteerError, match="kind and width"):
        _ = steer("style") + steer("style", kind="add")


def test_composed_trainings_keep_their_corpus_dimensions_apart():
    detox, sentiment = steer("detox", "corpus"), steer("sentiment", "corpus", seed=1)
    both = compose({"detox": detox, "mood": sentiment})
    assert both.dimensions == ("detox.detox", "detox.corpus", "mood.sentiment", "mood.corpus")
    values = {"detox.detox": 5, "mood.corpus": 1}
    expected = effect(detox, {"detox": 5}) + effect(sentiment, {"corpus": 1})
    torch.testing.assert_close(effect(both, values), expected, atol=1e-6, rtol=1e-6)


def test_the_matrix_is_the_weighted_sum_of_products():
    one = steer("style", "corpus")
    torch.testing.assert_close(
        one.matrix({"style": 2, "corpus": 1}).double() * one.epsilon, effect(one, {"style": 2, "corpus": 1})
    )


@pytest.mark.parametrize("kind, std", [("multiply", 0.01), ("add", 1.0), ("offset", 1.0)])
def test_initial_weights_have_the_original_spread_and_follow_the_generator(kind, std):
    def draw(seed: int) -> Steer:
        generator = torch.Generator().manual_seed(seed)
        return Steer.initial(("style",), 4000, rank=4, kind=kind, generator=generator)

    for name, weight in draw(0).weights.items():
        assert weight.std().item() == pytest.approx(std, rel=0.05)
        assert torch.equal(weight, draw(0).weights[name])
        assert not torch.equal(weight, draw(1).weights[name])


def test_a_steer_is_saved_and_read_back_to_the_bit(kind, tmp_path):
    one = replace(steer("style", "corpus", kind=kind), about={"seed": 1})
    one.save_pretrained(tmp_path / "steer")
    read = Steer.from_pretrained(tmp_path / "steer")
    assert (read.dimensions, read.kind, read.epsilon, read.about) == (
        one.dimensions,
        kind,
        one.epsilon,
        {"seed": 1},
    )
    assert list(read.weights) == list(one.weights)
    assert all(torch.equal(read.weights[name], one.weights[name]) for name in one.weights)


def test_the_same_steer_is_saved_as_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        steer("style").save_pretrained(tmp_path / folder)
    for name in ("steer.safetensors", "steer_config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.fixture
def saved(tmp_path):
    steer("style").save_pretrained(tmp_path / "steer")
    return tmp_path / "steer"


@pytest.mark.parametrize("keep", [0, 7, 40, -1])
def test_a_truncated_file_of_weights_is_refused(saved, keep):
    path = saved / "steer.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(LMSteerError, match="not a whole steer"):
        Steer.from_pretrained(saved)


def test_missing_weights_are_refused(saved):
    (saved / "steer.safetensors").unlink()
    with pytest.raises(LMSteerError, match="not a whole steer"):
        Steer.from_pretrained(saved)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": 2}, "update lm-steer"),
        ({"kind": "add"}, "not a whole steer"),
        ({"kind": "divide"}, "unknown kind"),
        ({"dimensions": ["style", "corpus"]}, "do not fit 2 dimensions"),
        ({"epsilon": None}, None),
        ({"epsilon": "much"}, "a finite number, not 'much'"),
        ({"dimensions": [7]}, "are names"),
        ({"dimensions": 7}, "not a whole steer"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(saved, change, message):
    path = saved / "steer_config.json"
    config = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    with pytest.raises(LMSteerError, match=message):
        Steer.from_pretrained(saved)


def test_a_config_that_is_no_object_is_refused(saved):
    (saved / "steer_config.json").write_text("[1, 2]")
    with pytest.raises(LMSteerError, match="a steer of format list"):
        Steer.from_pretrained(saved)


def test_weights_that_are_not_finite_are_refused(saved):
    weights = load_file(saved / "steer.safetensors")
    weights["A"][0, 0, 0] = math.nan
    save_file(weights, saved / "steer.safetensors")
    with pytest.raises(LMSteerError, match="not all finite"):
        Steer.from_pretrained(saved)


def test_analyses_are_there_on_the_steer(loaded):
    one = tiny.make_steer(loaded.model)
    assert one.transfer(loaded, loaded).about["model"] == loaded.name
    assert one.directions(loaded) == one.directions(loaded, "style") != one.directions(loaded, "corpus")
    found = one.evidence(loaded, "The movie was a joy.", {"style": 5}, count=1)
    assert found.text == "The movie was a joy." and len(found.spans) <= 1


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(LMSteerError, match="nowhere"):
        Steer.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_must_be_finite(value):
    with pytest.raises(LMSteerError, match="'style' must be a finite number"):
        steer("style").vector({"style": value})


def test_an_unknown_dimension_is_refused_with_those_there_are():
    with pytest.raises(LMSteerError, match=r"no dimension 'tone': it has style, corpus"):
        steer("style", "corpus").vector({"tone": 1})


def test_repeated_dimensions_are_refused():
    with pytest.raises(LMSteerError, match="names of their own"):
        steer("style", "style")


@pytest.mark.parametrize("shapes", [((1, 8, 2), (1, 8, 3)), ((2, 8, 2), (2, 8, 2)), ((1, 8), (1, 8))])
def test_weights_of_other_shapes_are_refused(shapes):
    with pytest.raises(LMSteerError, match="do not fit"):
        Steer(("style",), {name: torch.zeros(shape) for name, shape in zip("AB", shapes, strict=True)})


def test_the_algebra_holds_on_a_model(ids):
    model = tiny.make_model("llama")
    one, other = tiny.make_steer(model), tiny.make_steer(model, rank=5, epsilon=0.02, seed=1)
    handle = attach(model, one + other)
    with handle.at(style=2, corpus=-1):
        summed = tiny.logits_of(model, ids)
    handle.remove()
    handle = attach(model, compose({"one": one, "other": other}))
    with handle.at({"one.style": 2, "other.style": 2, "one.corpus": -1, "other.corpus": -1}):
        composed = tiny.logits_of(model, ids)
    torch.testing.assert_close(summed, composed, atol=1e-4, rtol=1e-4)
