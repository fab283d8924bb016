import pytest
import tiny
import torch

from lm_steer.model.probe import _same_products, filled_up_to


def test_blocks_whose_products_keep_their_bits_are_not_filled_up(loaded, monkeypatch):
    tried: list[tuple[int, int]] = []

    def same(_, few: int, many: int) -> bool:
        tried.append((few, many))
        return few % 4 == 0

    monkeypatch.setattr("lm_steer.model.probe._same_products", same)
    assert filled_up_to(loaded, 1, 20, 3) == 4
    assert filled_up_to(loaded, 1, 20, 3) == 4
    # Each pair of shapes is tried once.
    assert tried == [(3, 60), (6, 60), (9, 60), (12, 60)]
    assert filled_up_to(loaded, 7, 7, 3) == 7
    monkeypatch.setattr("lm_steer.model.probe._same_products", lambda *_: False)
    assert filled_up_to(loaded, 1, 50, 5) == 50


@pytest.mark.parametrize("name", ["llama-padded-vocabulary", "gpt2"])
def test_a_product_that_depends_on_its_rows_is_noticed(make_loaded, name):
    loaded = make_loaded(name)
    assert _same_products(loaded, 40, 40)
    for part in loaded.model.modules():
        if type(part).__name__ in ("Linear", "Conv1D"):
            plain = part.forward
            part.forward = lambda rows, plain=plain: plain(rows) * (1 + 1e-6 * (len(rows) < 32))
    assert not _same_products(loaded, 16, 40)


def test_models_with_other_products_fill_their_blocks_whole(loaded):
    loaded.model.experts = torch.nn.Parameter(torch.zeros(2, 3, 4))
    assert not _same_products(loaded, 40, 40)


def test_hooks_of_a_steer_are_not_run(loaded):
    steer = tiny.make_steer(loaded.model)
    with steer.attach(loaded.model).at(style=[1.0] * 7):
        assert _same_products(loaded, 40, 40)
