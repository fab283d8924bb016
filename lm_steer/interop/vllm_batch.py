"""Run in vLLM's environment: answer a file of requests, which vLLM batches.

    python -m lm_steer.interop.vllm_batch request.json answer.json

The request is {"engine": what vllm.LLM takes, "sampling": {…} or null, "requests": […]}. With sampling each request is
{"ids", "seed", "sampling": index, "steer": values} and is answered by the new token ids; without, each is {"ids",
"start"} and is answered by the summed NLL, in nats, of the tokens from `start` on.
"""

import json
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

try:
    from vllm import LLM, SamplingParams
    from vllm.inputs import TokensPrompt

    from lm_steer.interop.vllm import SteerRequests
except ModuleNotFoundError as error:
    if __name__ != "__main__":
        raise
    sys.exit(f"{sys.executable} has no module named {error.name}")


def sampled(engine: LLM, samplings: list[dict[str, Any]], requests: list[dict[str, Any]]) -> list[list[int]]:
    """Return the new token ids of each request."""
    parameters = [
        SamplingParams(
            **samplings[one["sampling"]],
            seed=one["seed"],
            ignore_eos=True,
            detokenize=False,
            extra_args={"steer": one["steer"]} if one["steer"] else None,
        )
        for one in requests
    ]
    return [list(answer.outputs[0].token_ids) for answer in engine.generate(_prompts(requests), parameters)]


def summed_nll(engine: LLM, requests: list[dict[str, Any]]) -> list[float]:
    """Return the summed NLL of each request's tokens from `start` on, given those before."""
    parameters = SamplingParams(max_tokens=1, prompt_logprobs=0, detokenize=False)
    sums = []
    for one, answer in zip(requests, engine.generate(_prompts(requests), parameters), strict=True):
        places = list(zip(one["ids"], answer.prompt_logprobs or [], strict=True))[one["start"] :]
        sums.append(-sum(logprobs[token].logprob for token, logprobs in places if logprobs is not None))
    return sums


def _prompts(requests: list[dict[str, Any]]) -> list[TokensPrompt]:
    return [TokensPrompt(prompt_token_ids=one["ids"]) for one in requests]


if __name__ == "__main__":
    job = json.loads(Path(sys.argv[1]).read_text())
    # Only once: an installed package brings the plug-in by its entry point.
    installed = any("lm_steer" in one.value for one in entry_points(group="vllm.logits_processors"))
    engine = LLM(**job["engine"], **({} if installed else {"logits_processors": [SteerRequests]}))
    requests = job["requests"]
    answers = sampled(engine, job["sampling"], requests) if job["sampling"] else summed_nll(engine, requests)
    Path(sys.argv[2]).write_text(json.dumps(answers))
