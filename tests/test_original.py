import argparse
import os

import pytest
import tiny
import torch

from lm_steer import LMSteerError, Steer
from lm_steer.original import import_original


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


def test_the_number_of_dimensions_must_fit(checkpoint):
    with pytest.raises(LMSteerError, match="has 2 dimensions, 1 were named"):
        import_original(checkpoint[0], ("detox",))


def test_a_file_that_is_no_pickle_is_refused(tmp_path):
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(LMSteerError, match="was not opened"):
        import_original(tmp_path / "text.pt", ("detox",))
