"""Analyses of a model that a program has loaded: what they say of the same model by folder."""

import copy

import pytest
import tiny
import torch

import lm_steer
from lm_steer import LMSteerError

TEXT = "A warm and funny story."


@pytest.fixture
def both(loaded):
    return loaded, (loaded.model, tiny.make_tokenizer())


def test_analyses_take_a_model_and_its_tokenizer(both):
    steer = tiny.make_steer(both[0].model)
    one, other = (
        (
            lm_steer.directions(steer, given, "style")[0].raised,
            lm_steer.evidence(steer, given, TEXT, {"style": 1}).scores,
            lm_steer.calibrate(steer, given, [TEXT], "style").points,
            lm_steer.transfer(steer, given, given).weights["A"].tolist(),
        )
        for given in both
    )
    assert one == other


def test_two_models_of_one_name_never_share_states(both, tmp_path):
    model, tokenizer = both[1]
    changed = copy.deepcopy(model)
    changed.get_input_embeddings().weight.data.mul_(0.5)
    steer, values, cache = tiny.make_steer(model), {"style": 1}, tmp_path / "states.sqlite"
    kept = [lm_steer.evidence(steer, (each, tokenizer), TEXT, values, cache=cache).scores for each in (model, changed)]
    assert kept == [lm_steer.evidence(steer, (each, tokenizer), TEXT, values).scores for each in (model, changed)]
    assert kept[0] != kept[1]


def test_generations_are_evaluated_without_a_file(both, tmp_path):
    prompts = ["The movie", "What a waste"]
    texts = lm_steer.generate(*both[1], prompts, samples=2, new_tokens=4)
    judges = {"perplexity": both[1]}
    table = lm_steer.evaluate(
        {"plain": (prompts, texts)}, ["dist-n", "perplexity"], judges, cache=tmp_path / "cache"
    ).set_index("metric")
    assert {"dist_1", "perplexity"} <= {*table.index} and torch.tensor(table["value"].tolist()).isfinite().all()
    with pytest.raises(LMSteerError, match="expected the same number of texts for each prompt"):
        lm_steer.evaluate({"plain": (prompts, texts[:1])}, "dist-n")
    with pytest.raises(LMSteerError, match="judges perplexity, not toxicity"):
        lm_steer.evaluate({"plain": (prompts, texts)}, "toxicity", {"toxicity": both[1]})


@pytest.mark.parametrize("given", [None, "gpt2", ("gpt2",)])
def test_what_is_no_model_is_named(both, given):
    with pytest.raises(LMSteerError, match="expected what load_model returns, or"):
        lm_steer.directions(tiny.make_steer(both[0].model), given, "style")
