import pytest
import tiny
import torch

from lm_steer import LMSteerError
from lm_steer.analyse.grid import grid_nll
from lm_steer.core.attach import attach

TEXTS = [tiny.SENTENCES[0], "The film", tiny.SENTENCES[3]]
GRID = [{"style": 0.0}, {"style": 2.0, "corpus": 1.0}, {"style": -3.5}]


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.parametrize("name", list(tiny.CONFIGS))
def test_a_grid_is_the_attached_model_at_each_value(make_loaded, name, kind):
    loaded = make_loaded(name)
    steer = tiny.make_steer(loaded.model, kind)
    found = grid_nll(loaded, steer, TEXTS, GRID)
    handle = attach(loaded.model, steer)
    for text, each in zip(TEXTS, found, strict=True):
        ids = torch.tensor([loaded.tokenizer(text)["input_ids"]])
        for values, nll in zip(GRID, each, strict=True):
            with handle.at(values):
                logits = tiny.logits_of(loaded.model, ids)[0, :-1]
            expected = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
            torch.testing.assert_close(nll, expected, rtol=2e-4, atol=2e-4)


def test_chunks_do_not_show(loaded, monkeypatch):
    steer = tiny.make_steer(loaded.model)
    whole = grid_nll(loaded, steer, TEXTS, GRID)
    monkeypatch.setattr("lm_steer.analyse.grid.CHUNK_BYTES", 1)
    for one, other in zip(whole, grid_nll(loaded, steer, TEXTS, GRID), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("texts", "grid", "message"),
    [
        (["a"], GRID, "at least two tokens, 'a' has 1"),
        ([""], GRID, "at least two tokens, '' has 0"),
        (TEXTS, [], "the grid has no steer values"),
        (TEXTS, [{"tone": 1.0}], "the steer has no dimension 'tone': it has style, corpus"),
        ([" ".join(tiny.SENTENCES * 3)], GRID, "more than 64 tokens does not fit in the model's context of 64"),
    ],
)
def test_bad_input_is_named(loaded, texts, grid, message):
    with pytest.raises(LMSteerError, match=message):
        grid_nll(loaded, tiny.make_steer(loaded.model), texts, grid)
