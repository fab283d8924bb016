"""Tokens a second, side by side: vLLM plain, steered at 1 and at 64 different values, and this project's generation.

    python tests/engines/throughput.py results/models/smollm2 results/steers/smollm2/sentiment/seed0

Needs `.engines/vllm` (make engines). Loading is not counted, and each number is of a second run.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PYTHON = Path(__file__).parents[2] / ".engines/vllm/bin/python"
WORDS = ("a", "the", "not", "so", "very", "in", "to", "at")
PROMPTS = [f"{start} {word}" for start in ("The film is", "My day was") for word in WORDS] * 2
SAMPLES, TOKENS = 5, 20


def rate(run: Callable[[], object]) -> float:
    """Return tokens a second of a second run."""
    run()
    begun = time.perf_counter()
    run()
    return len(PROMPTS) * SAMPLES * TOKENS / (time.perf_counter() - begun)


def in_vllm(model: str, dtype: str, counts: list[int]) -> None:
    """Print the rate at each number of different values, 0 for unsteered; runs in vLLM's environment."""
    from vllm import LLM, SamplingParams

    engine = LLM(
        model, dtype=dtype, max_model_len=128, max_num_seqs=160, enable_prefix_caching=False, enforce_eager=True
    )
    rates = []
    for count in counts:
        prompts = [prompt for prompt in PROMPTS for _ in range(SAMPLES)]
        values = [
            {"steer": {"sentiment": 5 - number % count / 10, "corpus": 1}} if count else None
            for number in range(len(prompts))
        ]
        parameters = [
            SamplingParams(max_tokens=TOKENS, top_p=0.9, ignore_eos=True, seed=7, extra_args=one) for one in values
        ]
        rates.append(rate(lambda: engine.generate(prompts, parameters, use_tqdm=False)))  # noqa: B023
    print(json.dumps(rates))


def here(model: str, steer: str, dtype: str) -> float:
    """Return the rate of this project, at one value."""
    from lm_steer import Sampling, Steer
    from lm_steer.generation.continuations import continuations
    from lm_steer.model.load import load_model

    loaded = load_model(model, dtype)
    with Steer.from_pretrained(steer).attach(loaded.model).at(sentiment=5, corpus=1):
        return rate(lambda: continuations(loaded, PROMPTS, Sampling(samples=SAMPLES, new_tokens=TOKENS), "texts"))


def main(model: str, steer: str, dtype: str = "float32") -> None:
    """Print the table."""
    rates = []
    for named, counts in (("", [0]), (f"style={steer}", [1, 64])):
        settings = {"LM_STEER_VLLM": named, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
        command = [PYTHON, __file__, "--in-vllm", model, dtype, json.dumps(counts)]
        done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=True)
        rates += json.loads(done.stdout.splitlines()[-1])
    names = [
        "vLLM, plain",
        "vLLM, steered at 1 value",
        "vLLM, steered at 64 values",
        "this project, steered at 1 value",
    ]
    print("| | tokens/s |\n|---|---|")
    for name, one in zip(names, [*rates, here(model, steer, dtype)], strict=True):
        print(f"| {name} | {one:,.0f} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--in-vllm":
        in_vllm(sys.argv[2], sys.argv[3], json.loads(sys.argv[4]))
    else:
        main(*sys.argv[1:])
