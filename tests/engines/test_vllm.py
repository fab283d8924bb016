"""vLLM, of an environment of its own that `make engines` sets up: its plug-in, and exports, folded or a LoRA."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from engines.reference import PROMPTS, agreement, effect_error, greedy
from engines.small import save_small, strong_steer
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm_steer import Steer
from lm_steer.interop.engines import runs
from lm_steer.interop.export import export

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".engines/vllm/bin/python"
DRIVER = Path(__file__).with_name("vllm_driver.py")
VALUES = [{"mood": 5.0, "corpus": 1.0}, {"mood": -5.0, "corpus": 1.0}, {"mood": 2.0}, None, {"corpus": -1.0}]

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not PYTHON.exists(), reason="vLLM is not set up: make engines"),
]


def environment(steer: Path | None) -> dict[str, str]:
    """What vLLM runs with; its own defaults are for machines of many cores."""
    return {
        **os.environ,
        "LM_STEER_VLLM": "" if steer is None else f"style={steer}",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "OMP_NUM_THREADS": "2",
    }


def answers(steer: Path | None, folder: Path, requests: list[dict], tmp_path: Path, **given) -> list[dict]:
    engine = {"model": str(folder), "dtype": "float32", "max_model_len": 128, "max_num_seqs": 64}
    (tmp_path / "requests.json").write_text(json.dumps({"engine": engine, "requests": requests, **given}))
    command = [PYTHON, DRIVER, tmp_path / "requests.json", tmp_path / "answers.json"]
    subprocess.run(command, env=environment(steer), check=True, timeout=1200)
    return json.loads((tmp_path / "answers.json").read_text())


def compared(loaded, steer: Steer, values: list, run) -> tuple[float, float, float, int]:
    """Return the error of the effect and the agreement; `run` answers requests that are to be steered."""
    texts = [greedy(loaded, steer, prompt, at) for prompt, at in zip(PROMPTS, values, strict=True)]
    first: list[list[float]] = []

    def ask(asked: list[tuple[list[int], int]]) -> list[list[int]]:
        each = (len(asked) - len(texts)) // len(texts)
        steered = [at for at in values for _ in range(each)] + values
        requests = [
            {"ids": ids, "max_tokens": count, "steer": at} for (ids, count), at in zip(asked, steered, strict=True)
        ]
        effects = [{"ids": ids, "max_tokens": 1, "steer": at, "logprobs": -1} for (ids, _), at in cases]
        given = run([*requests, *effects])
        first.extend(answer["logprobs"] for answer in given[len(requests) :])
        return [answer["ids"] for answer in given[: len(requests)]]

    cases = [(text, at) for text, at in zip(texts, values, strict=True) if at][:10]
    shares = agreement(texts, ask)
    found = torch.tensor([[one[str(token)] for token in range(len(one))] for one in first])
    return effect_error(loaded, steer, [(ids, at) for (ids, _), at in cases], found), *shares


def test_each_request_is_steered_at_its_own_values(loaded, folder, steer, tmp_path, note):
    """Requests of several values, and unsteered ones, in one batch."""
    result = compared(
        loaded, Steer.from_pretrained(steer), VALUES * 5, lambda requests: answers(steer, folder, requests, tmp_path)
    )
    note("vllm", "SmolLM2", "logits", *result)
    error, forced, _, tokens = result
    assert tokens >= 1000 and forced >= 0.99 and error <= 1e-3


@pytest.mark.parametrize("family", runs("vllm", "checkpoint"))
def test_the_plug_in_and_a_folded_checkpoint_steer(folder, family, tmp_path, note):
    model_folder = save_small(family, folder, tmp_path / family)
    loaded = AutoModelForCausalLM.from_pretrained(model_folder).eval(), AutoTokenizer.from_pretrained(folder)
    steer = strong_steer(64)
    steer.save_pretrained(tmp_path / "steer")
    for way in ("logits", "checkpoint"):
        place, used = model_folder, tmp_path / "steer"
        if way == "checkpoint":
            place, used = tmp_path / "out", None
            export(steer, VALUES[0], model_folder, place, "checkpoint", "vllm")

        def run(requests, place=place, used=used):
            plain = [{**request, "steer": request["steer"] if used else None} for request in requests]
            return answers(used, place, plain, tmp_path)

        result = compared(loaded, steer, VALUES[:1] * 25, run)
        note("vllm", family, way, *result)
        assert result[0] <= 1e-3 and result[1] >= 0.99


@pytest.mark.parametrize("family", runs("vllm", "adapter"))
def test_a_lora_of_the_head_steers(folder, family, tmp_path, note):
    model_folder = save_small(family, folder, tmp_path / family)
    loaded = AutoModelForCausalLM.from_pretrained(model_folder).eval(), AutoTokenizer.from_pretrained(folder)
    steer = strong_steer(64)
    export(steer, VALUES[0], model_folder, tmp_path / "out", "adapter", "vllm")

    def run(requests):
        plain = [{**request, "steer": None} for request in requests]
        return answers(None, model_folder, plain, tmp_path, lora=str(tmp_path / "out"))

    result = compared(loaded, steer, VALUES[:1] * 25, run)
    note("vllm", family, "adapter", *result)
    assert result[0] <= 1e-3 and result[1] >= 0.99
