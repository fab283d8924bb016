"""A study's continuations by vLLM, for models that do not fit on one GPU.

    lm-steer generate --model M --prompts P --steer S --at "detox=5" --vllm .vllm/bin/python -o out.jsonl

The files have the same format as those of other models. The seed of a request depends on (seed, prompt, sample) alone,
but two runs, or two engines, may give different texts.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lm_steer.core.stored import located
from lm_steer.data.shards import WHOLE, Shard
from lm_steer.generation.continuations import decoded
from lm_steer.generation.jobs import Job
from lm_steer.generation.nucleus import Sampling
from lm_steer.interop.vllm_engine import Vllm, ids_of
from lm_steer.model.chat import as_given, end_tokens
from lm_steer.training.lora import is_adapter
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import write_jsonl
from lm_steer.util.messages import ChatPrompt


def run_jobs(engine: Vllm, jobs: Sequence[Job], sampling: Sampling, shard: Shard = WHOLE) -> None:
    """Write every job's file, of all its prompts or of a shard, as `run_jobs` of generation/jobs.py does."""
    tokenizer = engine.tokenizer
    steers = list(dict.fromkeys(folder for job in jobs for folder in job.steers))
    for folder in steers:
        if is_adapter(folder):
            raise LMSteerError(f"{folder} is a LoRA, which is not run in vLLM here: leave `engine` out")
    numbers = {folder: f"s{number}" for number, folder in enumerate(steers)}
    requests: list[dict[str, Any]] = []
    samplings: list[dict[str, Any]] = []
    rows: list[tuple[list[dict[str, Any]], int]] = []
    is_chat: list[bool] = []
    for job in jobs:
        chosen = replace(sampling, **job.sampling)
        job_rows = job.rows()
        job_rows = job_rows[shard.of(len(job_rows))]
        plain_prompts = job.inputs(job_rows)
        prompts = as_given(tokenizer, plain_prompts)
        rows.append((job_rows, chosen.samples))
        is_chat += [isinstance(prompt, ChatPrompt) for prompt in plain_prompts for _ in range(chosen.samples)]
        steer = {
            f"{numbers[folder]}.{name}": at for folder, values in job.steers.items() for name, at in values.items()
        }
        for prompt, ids in zip(prompts, ids_of(tokenizer, prompts), strict=True):
            if not ids:
                raise LMSteerError(f"the prompt {prompt!r:.60} has no tokens: leave it out")
            for sample in range(chosen.samples):
                seed = _seed(chosen.seed, prompt, sample)
                requests.append({"ids": ids, "seed": seed, "sampling": len(samplings), "steer": steer})
        samplings.append({"max_tokens": chosen.new_tokens, "top_p": chosen.top_p, "top_k": chosen.top_k})
    tokens = engine.answers(requests, samplings, [str(located(folder)) for folder in steers]) if requests else []
    prompt_ids, ends = [one["ids"] for one in requests], end_tokens(tokenizer, engine.generation_config)
    texts = iter(decoded(tokenizer, prompt_ids, [[new] for new in tokens], is_chat, ends))
    for job, (job_rows, samples) in zip(jobs, rows, strict=True):
        lines = [{**row, "generations": [{"text": next(texts)[0]} for _ in range(samples)]} for row in job_rows]
        write_jsonl(job.output, lines)


def _seed(seed: int, prompt: str, sample: int) -> int:
    """Return the seed of a request, below 2⁶³."""
    digest = hashlib.sha256(json.dumps([seed, prompt, sample]).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
