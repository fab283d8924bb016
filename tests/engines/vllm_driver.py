"""Runs in vLLM's own environment: answers a JSON file of requests, and writes what each one gave.

python vllm_driver.py requests.json answers.json
"""

import json
import sys
from pathlib import Path

from vllm import LLM, SamplingParams
from vllm.inputs import TokensPrompt
from vllm.lora.request import LoRARequest

if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    lora = LoRARequest("steer", 1, given["lora"]) if "lora" in given else None
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
    Path(sys.argv[2]).write_text(json.dumps(answers))
