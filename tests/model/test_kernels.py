import pytest
import tiny
import torch
from torch import nn
from transformers.activations import NewGELUActivation

from lm_steer.model.kernels import use_one_kernel_gelu


@pytest.mark.parametrize("name", ["gpt2", "gpt-j"])
def test_the_activation_of_one_kernel_gives_the_same_logits(name, ids):
    model = tiny.make_model(name)
    expected = tiny.logits_of(model, ids)
    use_one_kernel_gelu(model)
    kinds = [type(module) for module in model.modules()]
    assert NewGELUActivation not in kinds and nn.GELU in kinds
    assert torch.allclose(tiny.logits_of(model, ids), expected, atol=1e-5)
    assert set(model.state_dict()) == set(tiny.make_model(name).state_dict())
