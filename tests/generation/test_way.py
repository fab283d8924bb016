"""Which way each architecture is run, and that every way gives what plain passes give."""

import pytest
import tiny
import torch
from transformers import BertConfig, GPTNeoConfig, MambaConfig, RobertaConfig

from lm_steer import LMSteerError, generate
from lm_steer.generation.continuations import continuations
from lm_steer.generation.nucleus import Sampling
from lm_steer.generation.way import way_of
from lm_steer.model.load import LoadedModel
from lm_steer.model.probe import pads_right
from lm_steer.score.perplexity import causal_lm
from lm_steer.score.store import Item

_BERT = {
    "vocab_size": tiny.VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
MORE = {
    "mamba": lambda: MambaConfig(
        vocab_size=tiny.VOCABULARY, hidden_size=32, num_hidden_layers=2, bos_token_id=0, eos_token_id=1, pad_token_id=1
    ),
    "gpt-neo": lambda: GPTNeoConfig(
        vocab_size=tiny.VOCABULARY,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=8,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=1,
    ),
    "roberta": lambda: RobertaConfig(**_BERT, is_decoder=True),
    "bert-both-ways": lambda: BertConfig(**_BERT),
}
PROMPTS = ["The movie", "A warm and funny story", "T"]
SAMPLING = Sampling(samples=2, new_tokens=5)


@pytest.fixture
def made(monkeypatch):
    """Return the function that builds a model of CONFIGS or MORE, loaded."""
    for name, config in MORE.items():
        monkeypatch.setitem(tiny.CONFIGS, name, config)
    return lambda name: LoadedModel(tiny.make_model(name), _tokenizer(), name, name)


def _tokenizer():
    tokenizer = tiny.make_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@pytest.mark.parametrize(
    ("name", "way"),
    [("llama", "static"), ("gemma2", "growing"), ("mamba", "own"), ("gpt-neo", "growing"), ("roberta", "own")],
)
def test_the_fastest_way_that_is_right_is_found(made, name, way):
    loaded = made(name)
    assert (way_of(loaded), pads_right(loaded)) == (way, True)


@pytest.mark.parametrize("name", ["llama", "gemma2", "mamba"])
def test_every_way_that_is_right_makes_the_same_texts_and_losses(made, name):
    texts, losses = [], []
    for way in ("found", "own", "whole"):
        loaded = made(name)
        if way != "found":
            loaded.probed[way_of.__wrapped__] = way
        items = [Item("The movie", " was a joy."), Item("The movie", " is"), Item("The mov", "ie was")]
        losses.append([nll for _, (nll, _) in sorted(causal_lm(loaded, "tiny").judge(items))])
        texts.append(continuations(loaded, PROMPTS, SAMPLING, "test"))
    assert texts[0] == texts[1] == texts[2]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] == pytest.approx(losses[2], rel=1e-4)


def test_a_model_that_sees_later_tokens_is_refused(made):
    loaded = made("bert-both-ways")
    with pytest.raises(LMSteerError, match="not a causal LM"):
        continuations(loaded, PROMPTS, SAMPLING, "test")
    with pytest.raises(LMSteerError, match="not a causal LM"):
        list(causal_lm(loaded, "tiny").judge([Item("The movie", " was")]))


def test_weights_that_are_not_finite_are_refused(made):
    loaded = made("llama")
    loaded.model.model.layers[0].mlp.down_proj.weight.data[3, 3] = torch.nan
    with pytest.raises(LMSteerError, match="not finite"):
        continuations(loaded, PROMPTS, SAMPLING, "test")


def test_a_model_is_probed_once_until_its_weights_change(made):
    loaded, passes = made("llama"), []
    loaded.model.get_input_embeddings().register_forward_hook(lambda *_: passes.append(1))
    counts = []
    for _ in range(2):
        generate(loaded.model, loaded.tokenizer, PROMPTS, new_tokens=2)
        counts.append(len(passes))
        passes.clear()
    assert 0 < counts[1] < counts[0] / 2
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight.fill_(torch.nan)
    with pytest.raises(LMSteerError, match="not finite"):
        generate(loaded.model, loaded.tokenizer, PROMPTS, new_tokens=2)


def test_a_steer_that_drives_the_logits_beyond_all_numbers_names_the_prompt(made):
    loaded = made("llama")
    steer = tiny.make_steer(loaded.model)
    with steer.attach(loaded.model).at(style=1e30), pytest.raises(LMSteerError, match=r"strong: .*The movie"):
        continuations(loaded, ["The movie"], SAMPLING, "strong")


def test_a_probe_neither_draws_from_the_global_generator_nor_leaves_a_hook(made):
    loaded = made("llama")
    before = torch.get_rng_state()
    way_of(loaded)
    assert torch.equal(torch.get_rng_state(), before)
    assert not loaded.model.get_output_embeddings()._forward_pre_hooks
