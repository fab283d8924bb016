"""An adapter is on the model for as long as its block lasts, and leaves the model as it was."""

import pytest
import tiny
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model

from lm_steer import LMSteerError
from lm_steer.model.in_memory import content_of
from lm_steer.training.lora import adapted

QUERIES = {"r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}


def saved(config, folder):
    made = get_peft_model(tiny.make_model("llama-padded-vocabulary"), config)
    for weight in made.parameters():
        if weight.requires_grad:
            weight.data.add_(0.5)
    made.save_pretrained(folder)
    return folder


def test_a_whole_module_of_an_adapter_is_taken_off_again(loaded, ids, tmp_path):
    before, plain = content_of(loaded.model), tiny.logits_of(loaded.model, ids)
    with adapted(loaded, saved(LoraConfig(**QUERIES, modules_to_save=["norm"]), tmp_path / "adapter")):
        assert not torch.allclose(tiny.logits_of(loaded.model, ids), plain)
    assert content_of(loaded.model) == before
    assert torch.equal(tiny.logits_of(loaded.model, ids), plain)


@pytest.mark.parametrize(
    "config, message",
    [
        (LoraConfig(**QUERIES, init_lora_weights="olora"), "changes the weights of the model itself"),
        (PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3), "puts virtual tokens before each text"),
    ],
)
def test_an_adapter_that_cannot_be_taken_off_is_refused_and_leaves_no_layers(loaded, config, message, tmp_path):
    folder = saved(config, tmp_path / "adapter")
    layers = [(name, type(module)) for name, module in loaded.model.named_modules()]
    with pytest.raises(LMSteerError, match=message), adapted(loaded, folder):
        pass
    assert [(name, type(module)) for name, module in loaded.model.named_modules()] == layers
    assert not hasattr(loaded.model, "peft_config")
