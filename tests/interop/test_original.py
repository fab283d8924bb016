import argparse
import os
import sys
import types
from contextlib import suppress

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_steer import LMSteerError, Steer
from lm_steer.interop.original import EASYEDIT, export_easysteer, import_original


def original_logits(head: torch.Tensor, state: dict, hidden: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The original's forward pass, said again: hidden (rows, positions, width), values (rows, dimensions)."""
    inner = torch.einsum("btd,kdr->bktr", hidden, state["projector1"]) * values[:, :, None, None]
    steered = hidden + 1e-3 * torch.einsum("bktr,kdr->btd", inner, state["projector2"])
    return steered @ head.T


@pytest.fixture
def checkpoint(tmp_path):
    state = {name: torch.nn.Parameter(torch.randn(2, 32, 3)) for name in ("projector1", "projector2")}
    arguments = argparse.Namespace(model_name="gpt2", epsilon=1e-3, adaptor_class="multiply", extra=None)
    torch.save([arguments, state, 1000], tmp_path / "original.pt")
    return tmp_path / "original.pt", state


def test_an_imported_steer_acts_as_the_original_did(checkpoint, tmp_path):
    path, state = checkpoint
    import_original(path, ("detox", "corpus")).save_pretrained(tmp_path / "steer")
    steer = Steer.from_pretrained(tmp_path / "steer")
    model = tiny.make_model("gpt2")
    hidden = torch.randn(2, 5, 32)
    with steer.attach(model).at(detox=[5, -5], corpus=1):
        ours = model.lm_head(hidden)
    expected = original_logits(model.lm_head.weight, state, hidden, torch.tensor([[5.0, 1.0], [-5.0, 1.0]]))
    torch.testing.assert_close(ours, expected)
    assert steer.about["step"] == 1000 and steer.about["model"] == "gpt2"


def test_the_other_kinds_are_imported_too(tmp_path):
    for kind, name, width in (("add", "add_vec", 32), ("offset", "offset_vec", tiny.VOCABULARY)):
        torch.save([argparse.Namespace(), {name: torch.ones(1, width)}, 1], tmp_path / "original.pt")
        assert import_original(tmp_path / "original.pt", ("detox",)).kind == kind


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    torch.save([argparse.Namespace(), {"projector1": Evil(tmp_path / "ran")}, 1], tmp_path / "evil.pt")
    with pytest.raises(LMSteerError, match="was not opened"):
        import_original(tmp_path / "evil.pt", ("detox",))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content", [[1, 2], [argparse.Namespace(), {"weight": torch.ones(1)}, 1], {"a": torch.ones(1)}]
)
def test_something_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(LMSteerError):
        import_original(tmp_path / "other.pt", ("detox", "corpus"))


def test_a_transferred_steer_has_no_arguments(checkpoint, tmp_path):
    _, state = checkpoint
    torch.save([None, state, 5], tmp_path / "transferred.pt")
    steer = import_original(tmp_path / "transferred.pt", ("detox", "corpus"))
    steer.save_pretrained(tmp_path / "steer")
    assert Steer.from_pretrained(tmp_path / "steer") == steer and steer.epsilon == 1e-3


NAN = torch.full((1, 4, 2), float("nan"))
STATES = [{"projector1": 5, "projector2": 6}, {"projector1": torch.tensor(5.0), "projector2": torch.tensor(5.0)}]
STATES += [
    {"projector1": NAN, "projector2": NAN},
    {"projector1": torch.ones(1, 4, 2), "projector2": torch.ones(1, 3, 2)},
]


@pytest.mark.parametrize("state", STATES, ids=["numbers", "scalars", "nan", "shapes"])
def test_a_state_that_is_no_steer_is_refused(tmp_path, state):
    torch.save([argparse.Namespace(), state, 1], tmp_path / "original.pt")
    with pytest.raises(LMSteerError, match=r"original\.pt"):
        import_original(tmp_path / "original.pt", ("detox",))


@pytest.mark.parametrize("epsilon", ["small", float("nan"), None, True, [1]])
def test_an_epsilon_that_is_no_number_is_refused(tmp_path, epsilon):
    state = {"add_vec": torch.ones(1, 32)}
    torch.save([argparse.Namespace(epsilon=epsilon), state, 1], tmp_path / "original.pt")
    with pytest.raises(LMSteerError, match=r"original\.pt .*epsilon"):
        import_original(tmp_path / "original.pt", ("detox",))


def test_arguments_may_be_a_dictionary(tmp_path):
    torch.save([{"epsilon": 0.5}, {"add_vec": torch.ones(1, 32)}, 1], tmp_path / "original.pt")
    assert import_original(tmp_path / "original.pt", ("detox",)).epsilon == 0.5


@settings(deadline=None, max_examples=60)
@given(place=st.floats(0, 1), byte=st.integers(0, 255))
def test_a_damaged_checkpoint_is_refused_or_read(tmp_path_factory, place, byte):
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    torch.save([argparse.Namespace(), {"add_vec": torch.ones(1, 4)}, 1], path)
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] = byte
    path.write_bytes(content)
    with suppress(LMSteerError):
        import_original(path, ("detox",))


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.write_bytes(b"")])
def test_a_folder_and_an_empty_file_are_refused(tmp_path, make):
    make(tmp_path / "original.pt")
    with pytest.raises(LMSteerError, match=r"original\.pt"):
        import_original(tmp_path / "original.pt", ("detox",))


def test_the_number_of_dimensions_must_fit(checkpoint):
    with pytest.raises(LMSteerError, match="has 2 dimensions, but 1 were named"):
        import_original(checkpoint[0], ("detox",))


def test_a_file_that_is_no_pickle_is_refused(tmp_path):
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(LMSteerError, match="was not opened"):
        import_original(tmp_path / "text.pt", ("detox",))


@pytest.fixture
def easyedit(monkeypatch):
    """EasyEdit's class of arguments under the name that its own files have; the real package cannot be installed."""
    module, name = EASYEDIT.rsplit(".", 1)
    made = type(name, (), {"__module__": module, "__qualname__": name})
    for dots in range(module.count(".") + 1):
        package = module.rsplit(".", dots)[0]
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    setattr(sys.modules[module], name, made)
    return made


def test_a_file_of_easyedit_is_read_without_its_class(checkpoint, easyedit, tmp_path, monkeypatch):
    arguments = easyedit()
    arguments.__dict__.update(epsilon=1e-2, rank=3, model_name_or_path="gpt2", steer_values=None)
    torch.save([arguments, {**checkpoint[1], "lm_head.weight": torch.ones(4, 32)}, 10], tmp_path / "vector.pt")
    monkeypatch.delitem(sys.modules, EASYEDIT.rsplit(".", 1)[0])
    steer = import_original(tmp_path / "vector.pt", ("detox", "corpus"))
    assert steer.epsilon == 1e-2 and steer.about["model"] == "gpt2" and steer.about["arguments"]["rank"] == 3


def easysteer_hidden(path, hidden, index, scale):
    """What EasySteer's lm_steer does to hidden states (..., width), said again: h + α (h P1) P2ᵀ."""
    state = torch.load(path, weights_only=True)
    first, second = state["projector1"][index], state["projector2"][index]
    return hidden + scale * hidden @ first @ second.T


def test_a_steer_goes_to_easysteer_and_comes_back(checkpoint, tmp_path):
    steer = import_original(checkpoint[0], ("detox", "corpus"))
    export_easysteer(steer, tmp_path / "easysteer.pt")
    model = tiny.make_model("gpt2")
    hidden = torch.randn(2, 5, 32)
    expected = model.lm_head(easysteer_hidden(tmp_path / "easysteer.pt", hidden, 0, 5.0))
    again = import_original(tmp_path / "easysteer.pt", ("detox", "corpus"))
    for one in (steer, again):
        with one.attach(model).at(detox=5) as handle:
            torch.testing.assert_close(model.lm_head(hidden), expected)
        handle.remove()


def test_a_single_pair_of_projectors_is_one_dimension(tmp_path):
    torch.save({name: torch.ones(8, 2) for name in ("projector1", "projector2")}, tmp_path / "one.pt")
    assert import_original(tmp_path / "one.pt", ("detox",)).weights["A"].shape == (1, 8, 2)


def test_a_steer_without_projectors_does_not_go_to_easysteer(tmp_path):
    steer = Steer(("style",), {"a": torch.ones(1, 4)}, "add")
    with pytest.raises(LMSteerError, match="has no projectors"):
        export_easysteer(steer, tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()
