import copy
import json
import math
import operator
from dataclasses import replace

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lm_steer import LMSteerError, Steer
from lm_steer.core.attach import attach
from lm_steer.core.steer import compose

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
    with pytest.raises(LMSteerError, match=r"steer\.safetensors is not a whole"):
        Steer.from_pretrained(saved)


def test_missing_weights_are_refused(saved):
    (saved / "steer.safetensors").unlink()
    with pytest.raises(LMSteerError, match=r"steer\.safetensors: no such file"):
        Steer.from_pretrained(saved)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": 2}, "update lm-steer"),
        ({"kind": "add"}, "not a complete steer"),
        ({"kind": "divide"}, "unknown kind"),
        ({"dimensions": ["style", "corpus"]}, "do not fit 2 dimensions"),
        ({"dimensions": []}, "tuple of names"),
        ({"dimensions": [""]}, "tuple of names"),
        ({"dimensions": [7]}, r"steer_config\.json, dimensions\[0\]: expected text, found '7'"),
        ({"dimensions": "s"}, "dimensions: expected a list"),
        ({"kind": ["add"]}, "kind: expected text"),
        ({"epsilon": ...}, "'epsilon' is missing"),
        ({"epsilon": "much"}, "epsilon: expected a number, found 'much'"),
        ({"epsilon": True}, "epsilon: expected a number"),
        ({"epsilon": 10**39}, "finite number"),
        ({"about": None}, "a dictionary, not None"),
        ({"width": 9}, "its width is 8, but its config says 9"),
        ({"rank": 5}, "its rank is 2, but its config says 5"),
        ({"about": ["gpt2"]}, "a dictionary"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(saved, change, message):
    path = saved / "steer_config.json"
    config = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))
    with pytest.raises(LMSteerError, match=message):
        Steer.from_pretrained(saved)


def test_a_config_that_is_no_object_is_refused(saved):
    (saved / "steer_config.json").write_text("[1, 2]")
    with pytest.raises(LMSteerError, match="expected a mapping"):
        Steer.from_pretrained(saved)


def test_weights_that_are_not_finite_are_refused(saved):
    weights = load_file(saved / "steer.safetensors")
    weights["A"][0, 0, 0] = math.nan
    save_file(weights, saved / "steer.safetensors")
    with pytest.raises(LMSteerError, match="values that are not finite"):
        Steer.from_pretrained(saved)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(LMSteerError, match="nowhere"):
        Steer.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize("place", ["", "nowhere", "./nowhere", "../no/where", 5, None, b"steer", "a\0b", "x" * 5000])
def test_what_is_no_folder_of_a_steer_is_refused(place):
    with pytest.raises(LMSteerError, match="is not a steer: give a steer's folder"):
        Steer.from_pretrained(place)


def test_a_file_in_place_of_the_folder_is_refused(saved):
    with pytest.raises(LMSteerError, match="is not a steer: give a steer's folder"):
        Steer.from_pretrained(saved / "steer_config.json")


@pytest.mark.parametrize("about", [{"when": {1, 2}}, {"loss": math.nan}, {("a", "b"): 1}, {"a": "\ud800"}], ids=repr)
def test_provenance_that_json_cannot_hold_leaves_a_saved_steer_as_it_is(saved, about):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises(LMSteerError, match="JSON cannot represent the provenance"):
        replace(steer("style", seed=1), about=about).save_pretrained(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    with pytest.raises(LMSteerError, match="JSON cannot represent the provenance"):
        replace(steer("style"), about=about).save_pretrained(saved.parent / "another")
    assert not (saved.parent / "another").exists()


def test_weights_that_cannot_be_written_leave_a_saved_steer_as_it_is(saved, monkeypatch):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def fail(tensors, path):
        raise OSError("no space left on device")

    monkeypatch.setattr("lm_steer.core.stored.save_file", fail)
    with pytest.raises(OSError, match="no space"):
        steer("style", "corpus").save_pretrained(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(LMSteerError, match=r"thesis\.tex"):
        steer("style").save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_weights_that_share_memory_are_saved(tmp_path):
    weight = torch.randn(1, WIDTH, 2)
    one = Steer(("style",), {"A": weight, "B": weight})
    one.save_pretrained(tmp_path / "steer")
    assert Steer.from_pretrained(tmp_path / "steer") == one


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf])
def test_weights_are_finite(weight, kind):
    weights = steer("style", kind=kind).weights
    next(iter(weights.values()))[0, 0] = weight
    with pytest.raises(LMSteerError, match="dense tensors of finite numbers"):
        Steer(("style",), weights, kind)


@pytest.mark.parametrize("weights", [{"A": None, "B": None}, {"A": [[[1.0]]], "B": [[[1.0]]]}])
def test_weights_are_tensors(weights):
    with pytest.raises(LMSteerError, match="dense tensors of finite numbers"):
        Steer(("style",), weights)


def test_equal_steers_have_equal_parts(kind, saved):
    one = steer("style", "corpus", kind=kind)
    one.save_pretrained(saved)
    read = Steer.from_pretrained(saved)
    assert read == one and one == copy.deepcopy(one) and one == replace(one, about={"seed": 1})
    others = [
        steer("style", "corpus", kind=kind, seed=1),
        steer("style", kind=kind),
        replace(one, epsilon=0.2),
        2 * one,
    ]
    assert not any(one == other for other in others) and one != "style" and one != replace(one, dimensions=("a", "b"))


def test_a_steer_has_no_hash_for_it_is_compared_by_its_weights():
    with pytest.raises(TypeError, match="unhashable"):
        hash(steer("style"))


def test_a_steer_is_printed_in_one_line(kind):
    one = steer("style", "corpus", kind=kind)
    size = "width 8, rank 2" if kind == "multiply" else "width 8"
    assert repr(one) == f"Steer(style, corpus: {kind}, {size}, ε 0.1)"


def test_sum_and_division(kind):
    one, other = steer("style", kind=kind), steer("style", kind=kind, seed=1)
    assert sum([one, other]) == one + other and sum([one]) == one
    torch.testing.assert_close(
        effect((one + other) / 2, {"style": 2}), effect(one, {"style": 1}) + effect(other, {"style": 1})
    )


@pytest.mark.parametrize("factor", [math.nan, math.inf, -math.inf, 10**400, True])
def test_factors_are_finite(factor):
    for act in (lambda: steer("style") * factor, lambda: factor * steer("style"), lambda: steer("style") / factor):
        with pytest.raises(LMSteerError, match="finite number"):
            act()


def test_a_product_that_overflows_is_refused():
    with pytest.raises(LMSteerError, match="dense tensors of finite numbers"):
        _ = steer("style") * 1e30 * 1e30


def test_a_steer_is_not_divided_by_zero():
    with pytest.raises(LMSteerError, match="other than 0"):
        _ = steer("style") / 0


@pytest.mark.parametrize("operation", [operator.add, operator.sub, operator.mul, operator.truediv])
@pytest.mark.parametrize("other", ["style", None, [1.0]])
def test_other_operands_are_a_type_error_as_everywhere_in_python(operation, other):
    with pytest.raises(TypeError):
        operation(steer("style"), other)


@pytest.mark.parametrize("epsilon", [0.0, 1e-300])
def test_a_steer_that_does_nothing_is_refused(epsilon):
    with pytest.raises(LMSteerError, match="a finite number other than 0"):
        steer("style", epsilon=epsilon)


def test_composed_dimensions_do_not_share_a_name():
    with pytest.raises(LMSteerError, match=r"the dimension 'a\.b\.c'"):
        compose({"a": steer("b.c"), "a.b": steer("c", seed=1)})


def test_nothing_is_not_composed():
    with pytest.raises(LMSteerError, match="at least one"):
        compose({})


NUMBERS = st.floats(-100, 100, allow_subnormal=False).map(lambda number: round(number, 3))


@settings(deadline=None, max_examples=30)
@given(
    kind=st.sampled_from(tiny.KINDS),
    a=NUMBERS,
    b=NUMBERS,
    value=NUMBERS,
    epsilons=st.tuples(*[st.floats(1e-3, 10)] * 2),
)
def test_the_effect_is_linear_in_steers_and_factors(kind, a, b, value, epsilons):
    one = steer("style", "corpus", kind=kind, epsilon=epsilons[0])
    other = steer("style", kind=kind, rank=3, epsilon=epsilons[1], seed=1)
    values = {"style": value, "corpus": 1.0}
    expected = a * effect(one, values) + b * effect(other, {"style": value})
    largest = 1e-5 * (1 + abs(a * value) + abs(b * value)) * 100
    torch.testing.assert_close(effect(a * one + b * other, values), expected, atol=largest, rtol=1e-5)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 1e39, 10**400, "5", b"5", True, None, [1.0], 1j], ids=repr
)
def test_values_must_be_finite(value):
    with pytest.raises(LMSteerError, match="'style' must be a finite number"):
        steer("style").vector({"style": value})


@pytest.mark.parametrize("values", [5, "style=5", ["style"], None])
def test_values_go_by_name(values):
    with pytest.raises(LMSteerError, match="expected steer values by name"):
        steer("style").vector(values)


def test_an_unknown_dimension_is_refused_with_those_there_are():
    with pytest.raises(LMSteerError, match=r"no dimension 'tone': it has style, corpus"):
        steer("style", "corpus").vector({"tone": 1})


def test_repeated_dimensions_are_refused():
    with pytest.raises(LMSteerError, match="must be distinct"):
        steer("style", "style")


@pytest.mark.parametrize(
    "shapes", [((1, 8, 2), (1, 8, 3)), ((2, 8, 2), (2, 8, 2)), ((1, 8), (1, 8)), ((1, 8, 0), (1, 8, 0))]
)
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


def test_a_steer_keeps_the_weights_that_were_checked(tmp_path):
    given = {name: torch.ones(1, WIDTH, 2) for name in "AB"}
    made = Steer(("style",), given)
    given["A"].fill_(math.nan)
    assert made.weights["A"].eq(1).all()
    made.weights["A"].fill_(math.nan)
    with pytest.raises(LMSteerError, match="finite numbers"):
        made.save_pretrained(tmp_path / "steer")
    assert not (tmp_path / "steer").exists()


@pytest.mark.parametrize("dimensions, kind", [(5, "multiply"), (("style",), [])])
def test_an_initial_steer_needs_names_and_a_kind(dimensions, kind):
    with pytest.raises(LMSteerError, match=r"needs names|unknown kind"):
        Steer.initial(dimensions, WIDTH, kind=kind)
