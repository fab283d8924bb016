"""vLLM, of an environment of its own that `make engines` sets up: its plug-in, and exports, folded or a LoRA."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from engines.reference import FEW, PROMPTS, agreement, asked, effect_error, greedy
from engines.small import save_small, strong_steer
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm_steer import Steer
from lm_steer.interop.engines import runs
from lm_steer.interop.export import export

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".engines/vllm/bin/python"
FAMILIES = ("gpt2", "granite", "llama", "opt", "qwen2")
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
        # One process runs all engines of a file one after another.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "OMP_NUM_THREADS": "2",
    }


class Run:
    """What one engine is asked, and what its answers come to."""

    def __init__(self, loaded, steer: Steer, folder: Path, prompts: list[str], values: list, way: str, lora: str = ""):
        self.loaded, self.steer, self.values = loaded, steer, values
        self.texts = [greedy(loaded, steer, prompt, at) for prompt, at in zip(prompts, values, strict=True)]
        self.asked = asked(self.texts)
        self.effects = [(ids, at) for (ids, _), at in zip(self.texts, values, strict=True) if at][:10]
        each = (len(self.asked) - len(self.texts)) // len(self.texts)
        requests = [
            {"ids": ids, "max_tokens": count, "steer": at}
            for (ids, count), at in zip(self.asked, [at for at in values for _ in range(each)] + values, strict=True)
        ]
        requests += [{"ids": ids, "max_tokens": 1, "steer": at, "logprobs": -1} for ids, at in self.effects]
        if way != "logits":
            requests = [{**request, "steer": None} for request in requests]
        engine = {"model": str(folder), "dtype": "float32", "max_model_len": 128, "max_num_seqs": 64}
        self.given = {"engine": engine, "requests": requests, "lora": lora}

    def result(self, answers: list[dict]) -> tuple[float, float, float, int]:
        """Return the error of the effect, both shares of agreement, and the number of tokens."""
        first = [answer["logprobs"] for answer in answers[len(self.asked) :]]
        found = torch.tensor([[one[str(token)] for token in range(len(one))] for one in first])
        shares = agreement(self.texts, [answer["ids"] for answer in answers[: len(self.asked)]])
        return effect_error(self.loaded, self.steer, self.effects, found), *shares


def answers(steer: Path, runs: list[Run], tmp_path: Path) -> list[list[dict]]:
    (tmp_path / "runs.json").write_text(json.dumps([run.given for run in runs]))
    command = [PYTHON, DRIVER, tmp_path / "runs.json", tmp_path / "answers.json"]
    subprocess.run(command, env=environment(steer), check=True, timeout=2400)
    return json.loads((tmp_path / "answers.json").read_text())


def test_each_request_is_steered_at_its_own_values(loaded, folder, steer, tmp_path, note):
    """Requests of several values, and unsteered ones, in one batch."""
    run = Run(loaded, Steer.from_pretrained(steer), folder, PROMPTS, VALUES * 5, "logits")
    error, forced, running, tokens = run.result(answers(steer, [run], tmp_path)[0])
    note("vllm", "SmolLM2", "logits", error, forced, running, tokens)
    assert tokens >= 1000 and forced >= 0.99 and error <= 1e-3


def test_small_models_steer_by_the_plug_in_folded_and_by_lora(folder, tmp_path, note):
    steer = strong_steer(64)
    steer.save_pretrained(tmp_path / "steer")
    cases = [(family, way) for way in ("logits", "checkpoint") for family in FAMILIES]
    cases += [(family, "adapter") for family in runs("vllm", "adapter")]
    asked_of = {}
    for family, way in cases:
        place = tmp_path / family
        if not place.exists():
            save_small(family, folder, place)
        loaded = AutoModelForCausalLM.from_pretrained(place).eval(), AutoTokenizer.from_pretrained(folder)
        values = [VALUES[0]] * len(FEW)
        output, lora = tmp_path / f"{family}-{way}", ""
        if way != "logits":
            export(steer, VALUES[0], place, output, way, "vllm")
        if way == "adapter":
            output, lora = place, str(output)
        asked_of[family, way] = Run(loaded, steer, place if way == "logits" else output, FEW, values, way, lora)
    given = answers(tmp_path / "steer", list(asked_of.values()), tmp_path)
    refused = {case: answer for case, answer in zip(asked_of, given, strict=True) if isinstance(answer, str)}
    assert refused == {}
    results = {case: run.result(answer) for (case, run), answer in zip(asked_of.items(), given, strict=True)}
    for (family, way), result in results.items():
        note("vllm", family, way, *result)
    assert {case: result for case, result in results.items() if result[0] > 1e-3 or result[1] < 0.99} == {}


def test_prefix_caching_and_chunked_prefill_leave_the_steer_as_it_is(folder, tmp_path):
    """On and off, with prompts that are longer than a chunk; requests of several values share their prefixes."""
    place = save_small("llama", folder, tmp_path / "llama")
    loaded = AutoModelForCausalLM.from_pretrained(place).eval(), AutoTokenizer.from_pretrained(folder)
    steer = strong_steer(64)
    steer.save_pretrained(tmp_path / "steer")
    chunked = {"enable_chunked_prefill": True, "max_num_batched_tokens": 16, "max_num_seqs": 8}
    options = [{"enable_prefix_caching": caching, **more} for caching in (False, True) for more in ({}, chunked)]
    made = []
    for one in options:
        run = Run(loaded, steer, place, [" ".join(PROMPTS[:4])] * 3, VALUES[:3], "logits")
        run.given["engine"] |= one
        made.append(run)
    for run, given in zip(made, answers(tmp_path / "steer", made, tmp_path), strict=True):
        error, forced, *_ = run.result(given)
        assert error <= 1e-3 and forced >= 0.99, run.given["engine"]
