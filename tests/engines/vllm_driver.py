"""Runs in vLLM's own environment: answers a JSON file of runs, each an engine and its requests, one after another.

A run that vLLM refuses is answered by the reason.

python vllm_driver.py runs.json answers.json
"""

import gc
import json
import sys
from pathlib import Path

from vllm import LLM, SamplingParams
from vllm.distributed import cleanup_dist_env_and_memory
from vllm.inputs import TokensPrompt
from vllm.lora.request import LoRARequest


def answered(given: dict) -> list[dict]:
    """Return the tokens of each request of a run, and the log-probabilities of its first."""
    lora = LoRARequest("steer", 1, given["lora"]) if given["lora"] else None
    options = {"enable_lora": True, "max_lora_rank": 64} if lora else {}
    engine = LLM(enforce_eager=True, logprobs_mode="processed_logprobs", max_logprobs=-1, **options, **given["engine"])
    prompts, parameters = [], []
    for request in given["requests"]:
        prompts.append(TokensPrompt(prompt_token_ids=request.pop("ids")))
        values = request.pop("steer", None)
        extra = None if values is None else {"steer": values}
        parameters.append(SamplingParams(temperature=0, ignore_eos=True, extra_args=extra, **request))
    answers = []
    for answer in engine.generate(prompts, parameters, use_tqdm=False, lora_request=lora):
        first = (answer.outputs[0].logprobs or [{}])[0]
        ids = list(answer.outputs[0].token_ids)
        answers.append({"ids": ids, "logprobs": {str(token): value.logprob for token, value in first.items()}})
    return answers


if __name__ == "__main__":
    done = []
    for run in json.loads(Path(sys.argv[1]).read_text()):
        try:
            done.append(answered(run))
        except Exception as error:
            # An engine that refuses a model must not take the others' answers away.
            done.append(str(error).splitlines()[0])
        gc.collect()
        cleanup_dist_env_and_memory()
    Path(sys.argv[2]).write_text(json.dumps(done))
