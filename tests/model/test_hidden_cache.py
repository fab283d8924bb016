import sqlite3

import pytest
import tiny
import torch

from lm_steer.core.attach import attach
from lm_steer.model.blocks import STEP, TOKENS, blocks_of
from lm_steer.model.head import head_inputs
from lm_steer.model.hidden_cache import HiddenMemo
from lm_steer.model.probe import pads_right

TEXTS = [*tiny.SENTENCES, "The movie", "Fine.", "\u00e9t\u00e9", " ".join(tiny.SENTENCES[:2])]
MAX_LENGTH = 40


@pytest.fixture
def memo(tmp_path, loaded) -> HiddenMemo:
    return HiddenMemo(tmp_path / "hidden.sqlite", loaded, MAX_LENGTH)


@torch.no_grad()
def own_states(loaded, text: str) -> torch.Tensor:
    ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"][:, :MAX_LENGTH]
    return loaded.model.model(ids).last_hidden_state[0]


@pytest.mark.parametrize("text", TEXTS)
def test_states_are_the_models_own(memo, loaded, text):
    memo.ensure(TEXTS, "test")
    torch.testing.assert_close(memo.state(text), own_states(loaded, text), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_states_are_what_the_head_receives_under_padding(make_loaded, name, tmp_path):
    loaded = make_loaded(name)
    memo = HiddenMemo(tmp_path / "hidden.sqlite", loaded, MAX_LENGTH)
    memo.ensure(TEXTS, "test")
    received = []
    loaded.model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: received.append(inputs[0][0]))
    tiny.logits_of(loaded.model, loaded.tokenizer(TEXTS[0], return_tensors="pt")["input_ids"])
    torch.testing.assert_close(memo.state(TEXTS[0]), received[0][:MAX_LENGTH], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("others", [[], TEXTS[1:3], TEXTS[::-1], TEXTS + [f"{text}!" for text in TEXTS * 2]])
def test_states_do_not_depend_on_the_other_texts(memo, tmp_path, loaded, others):
    memo.ensure(TEXTS, "test")
    other = HiddenMemo(tmp_path / "other.sqlite", loaded, MAX_LENGTH)
    other.ensure([*others, TEXTS[0]], "test")
    assert torch.equal(other.state(TEXTS[0]), memo.state(TEXTS[0]))


def test_states_do_not_depend_on_what_was_there_before(memo, tmp_path, loaded):
    memo.ensure(TEXTS, "test")
    grown = HiddenMemo(tmp_path / "grown.sqlite", loaded, MAX_LENGTH)
    for text in reversed(TEXTS):
        grown.ensure([text], "test")
    assert all(torch.equal(grown.state(text), memo.state(text)) for text in TEXTS)


@pytest.mark.parametrize("equal, rows", [(True, 1), (False, TOKENS["cpu"] // 16)])
def test_a_block_is_filled_up_as_far_as_its_products_need_it(memo, loaded, monkeypatch, equal, rows):
    """Kernels of larger models choose their order of summation by shape, which tiny ones do not show."""
    monkeypatch.setattr("lm_steer.model.probe._same_products", lambda *_: equal)
    shapes: list[tuple[int, ...]] = []
    pads_right(loaded)
    embeddings = loaded.model.get_input_embeddings()
    embeddings.register_forward_hook(lambda _, inputs, output: shapes.append(tuple(inputs[0].shape)))
    memo.ensure([" the" * 14], "test")
    assert shapes == [(rows, 16)] and 16 % STEP == 0


def test_a_text_is_run_once(memo, tmp_path, loaded):
    memo.ensure(TEXTS[:4] * 2, "test")
    states = [memo.state(text) for text in TEXTS[:4]]
    again = HiddenMemo(tmp_path / "hidden.sqlite", loaded, MAX_LENGTH)
    with tiny.blinded(loaded.model):
        again.ensure(TEXTS[:5], "test")
        assert all(torch.equal(again.state(text), state) for text, state in zip(TEXTS, states, strict=False))
        assert not again.state(TEXTS[4]).any()


def test_a_text_that_was_never_seen_is_run_when_it_is_asked_for(memo, loaded):
    torch.testing.assert_close(memo.state(TEXTS[2]), own_states(loaded, TEXTS[2]), atol=1e-5, rtol=1e-5)


def test_another_max_length_is_another_state(memo, tmp_path, loaded):
    memo.ensure(TEXTS, "test")
    short = HiddenMemo(tmp_path / "hidden.sqlite", loaded, 5)
    assert len(short.state(TEXTS[0])) == 5 < len(memo.state(TEXTS[0]))


def test_another_model_does_not_find_the_states(memo, tmp_path, make_loaded):
    memo.ensure(TEXTS, "test")
    other = HiddenMemo(tmp_path / "hidden.sqlite", make_loaded("llama"), MAX_LENGTH)
    assert not torch.equal(other.state(TEXTS[0]), memo.state(TEXTS[0]))


def test_an_attached_steer_does_not_show(memo, loaded):
    with attach(loaded.model, tiny.make_steer(loaded.model)).at(style=50):
        torch.testing.assert_close(memo.state(TEXTS[0]), own_states(loaded, TEXTS[0]), atol=1e-5, rtol=1e-5)


def test_a_memo_over_its_bound_drops_the_oldest_and_still_answers(memo, loaded, monkeypatch):
    monkeypatch.setattr("lm_steer.model.hidden_cache.MEMO_BYTES", 20_000)
    for text in TEXTS:
        memo.ensure([text], "test")
        assert sqlite3.connect(memo.path).execute("SELECT sum(length(state)) FROM states").fetchone()[0] <= 20_000
    torch.testing.assert_close(memo.state(TEXTS[0]), own_states(loaded, TEXTS[0]), atol=1e-5, rtol=1e-5)


def test_a_state_that_cannot_be_written_ends_the_computing(memo, monkeypatch):
    def full(*_) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("lm_steer.model.hidden_cache.transaction", full)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        memo.ensure(TEXTS, "test")


def test_reading_the_head_inputs_leaves_no_hook(loaded, ids):
    expected = tiny.logits_of(loaded.model, ids)
    head_inputs(loaded.model, ids, torch.ones_like(ids))
    assert torch.equal(tiny.logits_of(loaded.model, ids), expected)


def test_blocks_hold_every_index_once_and_one_key_each():
    keys = [8, 16, 8, 24, 8, 8, 8, 16, 8]
    blocks = list(blocks_of(keys, lambda key: key // 4))
    assert sorted(index for _, _, indices in blocks for index in indices) == list(range(len(keys)))
    assert all(keys[index] == key for key, _, indices in blocks for index in indices)
    assert all(len(indices) <= full == key // 4 for key, full, indices in blocks)


@pytest.mark.parametrize("keys", [[20, 16, 15, 14, 4, 40, 4, 3], [(8, 20), (8, 16), (16, 4), (8, 14), (16, 4), (8, 4)]])
def test_mixed_blocks_hold_every_index_once_with_little_padding(keys):
    blocks = list(blocks_of(keys, lambda _: 3, mixed=True))
    assert sorted(index for _, _, indices in blocks for index in indices) == list(range(len(keys)))
    assert len(blocks) < len(set(keys))
    for key, full, indices in blocks:
        assert len(indices) <= full
        *others, longest = key if isinstance(key, tuple) else (key,)
        for index in indices:
            *of_item, length = keys[index] if isinstance(keys[index], tuple) else (keys[index],)
            assert of_item == others and 0.75 * longest <= length <= longest


def test_damage_in_the_middle_of_the_memo_is_made_good(memo, tmp_path, capsys):
    texts = [f"{sentence} {number}" for sentence in tiny.SENTENCES for number in range(30)]
    whole = memo.states(texts, "first")
    memo._do(lambda database: database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
    memo._do(lambda database: database.close())
    content = memo.path.read_bytes()
    memo.path.write_bytes(content[:8192] + b"noise" * ((len(content) - 8192) // 5))
    again = HiddenMemo(memo.path, memo.loaded, MAX_LENGTH)
    states = again.states(texts, "again")
    assert all(torch.equal(states[text], whole[text]) for text in texts)
    assert f"{memo.path} is damaged" in capsys.readouterr().err
    assert all(torch.equal(again.state(text), whole[text]) for text in texts[:3])


@pytest.mark.parametrize("change", ["zeroblob(length(state))", "substr(state, 5)", "x''", "'text'"])
def test_a_state_that_was_changed_is_computed_again(memo, loaded, capsys, change):
    text = tiny.SENTENCES[0]
    whole = memo.state(text)
    with sqlite3.connect(memo.path) as database:
        database.execute(f"UPDATE states SET state = {change}")
    assert torch.equal(memo.state(text), whole)
    assert "is damaged (the checksum of a state does not match)" in capsys.readouterr().err
    with tiny.blinded(loaded.model):
        assert torch.equal(memo.state(text), whole)
