"""What analyses do to models: a rotated copy, a LoRA, the time they take."""

import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from lm_steer import LMSteerError
from lm_steer.analyse.cost import sizes, write_cost
from lm_steer.analyse.transfer import transfer
from lm_steer.core.attach import attach
from lm_steer.model.load import load_model
from lm_steer.model.obtain import obtain
from lm_steer.training.lora import adapted, is_adapter, rank_for, train_lora


@pytest.fixture
def folder_of(tmp_path):
    def make(name: str):
        origin = tmp_path / f"{name}-origin"
        model = tiny.make_model(name)
        for norm in (module for module in model.modules() if "Norm" in type(module).__name__):
            scale = torch.rand(norm.weight.shape, generator=torch.Generator().manual_seed(5))
            norm.weight.data = 0.5 + scale
        model.save_pretrained(origin)
        tiny.make_tokenizer().save_pretrained(origin)
        obtain("folder", str(origin), tmp_path / name)
        return tmp_path / name

    return make


@pytest.mark.parametrize("name", ["llama", "llama-tied", "llama-padded-vocabulary"])
def test_a_rotated_model_computes_the_same_in_another_basis(folder_of, tmp_path, ids, name):
    folder = folder_of(name)
    obtain("rotated", str(folder), tmp_path / "rotated")
    first, second = (load_model(each, device="cpu") for each in (folder, tmp_path / "rotated"))
    torch.testing.assert_close(
        tiny.logits_of(second.model, ids), tiny.logits_of(first.model, ids), rtol=1e-3, atol=1e-3
    )
    heads = [loaded.model.get_output_embeddings().weight for loaded in (first, second)]
    assert not torch.allclose(*heads, atol=0.1)


def test_a_steer_carried_to_the_rotated_model_by_the_inverse_does_there_what_it_did(folder_of, tmp_path, ids):
    folder = folder_of("llama-tied")
    obtain("rotated", str(folder), tmp_path / "rotated")
    first, second = (load_model(each, device="cpu") for each in (folder, tmp_path / "rotated"))
    steer = tiny.make_steer(first.model)
    with attach(first.model, steer).at(style=2, corpus=1):
        expected = tiny.logits_of(first.model, ids)
    plain = tiny.logits_of(second.model, ids)

    def error(method: str) -> float:
        handle = attach(second.model, transfer(steer, first, second, method))
        with handle.at(style=2, corpus=1):
            logits = tiny.logits_of(second.model, ids)
        handle.remove()
        return ((logits - expected).abs().max() / (plain - expected).abs().max()).item()

    assert error("inverse") < 1e-2
    # The norms' weights are in the map, which so is no rotation.
    assert error("least-squares") > 0.1


def test_only_what_can_be_rotated_is(folder_of, tmp_path):
    with pytest.raises(LMSteerError, match="is a gpt2: only models of type llama can be rotated"):
        obtain("rotated", str(folder_of("gpt2")), tmp_path / "rotated")
    with pytest.raises(LMSteerError, match="a model folder has the hub"):
        obtain("rotated", str(tmp_path / "none"), tmp_path / "rotated")
    assert not (tmp_path / "rotated").exists()


LORA = {"steps": 12, "batch_size": 4, "learning_rate": 0.02, "max_length": 32, "seed": 0}


def test_a_lora_learns_its_texts_within_its_budget_and_leaves_no_trace(loaded, make_loaded, tmp_path, ids):
    before = tiny.logits_of(loaded.model, ids)
    adapter = tmp_path / "adapter"
    train_lora(make_loaded("llama-padded-vocabulary"), tiny.SENTENCES[:2], budget=2000, output=adapter, **LORA)
    assert is_adapter(adapter) and not is_adapter(tmp_path)
    text = torch.tensor([loaded.tokenizer(tiny.SENTENCES[0])["input_ids"]])

    def nll() -> float:
        logits = tiny.logits_of(loaded.model, text)[0, :-1]
        return torch.nn.functional.cross_entropy(logits, text[0, 1:]).item()

    plain = nll()
    for _ in range(2):
        with adapted(loaded, adapter):
            assert nll() < plain - 0.1
        assert torch.equal(tiny.logits_of(loaded.model, ids), before)


def test_a_lora_that_diverges_is_not_saved(loaded, tmp_path):
    with pytest.raises(LMSteerError, match="diverged"):
        train_lora(loaded, tiny.SENTENCES, budget=2000, output=tmp_path / "adapter", **{**LORA, "learning_rate": 1e30})
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize("damage", ["nan", "truncated", "other names", "config", "missing"])
def test_a_damaged_adapter_is_refused_by_name(loaded, make_loaded, tmp_path, damage):
    adapter = tmp_path / "adapter"
    train_lora(make_loaded("llama-padded-vocabulary"), tiny.SENTENCES, budget=2000, output=adapter, **LORA)
    weights = adapter / "adapter_model.safetensors"
    tensors = load_file(weights)
    if damage == "nan":
        next(iter(tensors.values())).fill_(torch.nan)
        save_file(tensors, weights)
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:50])
    elif damage == "other names":
        save_file({name.replace("layers.0", "layers.7"): tensor for name, tensor in tensors.items()}, weights)
    elif damage == "config":
        (adapter / "adapter_config.json").write_text('{"peft_type": null}')
    else:
        weights.unlink()
    with pytest.raises(LMSteerError, match=str(adapter)), adapted(loaded, adapter):
        pass


def test_the_budget_of_a_lora(loaded):
    linear = [part for part in loaded.model.model.modules() if isinstance(part, torch.nn.Linear)]
    unit = sum(part.in_features + part.out_features for part in linear)
    assert rank_for(loaded, 3 * unit) == 3
    assert rank_for(loaded, 3 * unit - 1) == 2
    assert rank_for(loaded, 1) == 1


def test_a_lora_needs_texts(loaded, tmp_path):
    with pytest.raises(LMSteerError, match="no text has a label in the range"):
        train_lora(loaded, [], budget=1, output=tmp_path / "adapter", **LORA)


def test_what_a_steer_costs(loaded, tmp_path, ids):
    steer = tiny.make_steer(loaded.model, rank=3)
    assert sizes(steer) == {"parameters": 2 * 2 * 32 * 3, "parameters_a_dimension": 2 * 32 * 3, "bytes": 4 * 384}
    benchmark = tmp_path / "train.tsv"
    benchmark.write_text("s\th:m:s\tmax_rss\tcpu_time\n12.5\t0:00:12\t100.0\t9.5\n", encoding="utf-8")
    before = tiny.logits_of(loaded.model, ids)
    write_cost(loaded, steer, {"style": 2}, benchmark, tmp_path / "cost.csv")
    assert torch.equal(tiny.logits_of(loaded.model, ids), before)
    found = pd.read_csv(tmp_path / "cost.csv").set_index("figure")
    assert found.loc["training_seconds", "value"] == 12.5
    for name in ("decode_hooked", "decode_folded"):
        assert 0 < found.loc[name, "low"] <= found.loc[name, "value"] <= found.loc[name, "high"]
    benchmark.write_text("nothing\n", encoding="utf-8")
    with pytest.raises(LMSteerError, match=r"train\.tsv"):
        write_cost(loaded, steer, {"style": 2}, benchmark, tmp_path / "cost.csv")
