"""Benchmark generation by vLLM, in a process of vLLM's own environment.

That environment does not need lm_steer: the process gets a model folder and prompts as token ids.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_steer.model.load import LoadedModel
from lm_steer.util.answers import read_answer
from lm_steer.util.errors import LMSteerError

if TYPE_CHECKING:
    from lm_steer.bench.run import Load

# The faster of two runs counts, since the first one warms up.
DRIVER = """
import json, sys, time
import torch, vllm
request = json.load(open(sys.argv[1]))
options = request["options"] | ({} if torch.cuda.is_available() else {"enforce_eager": True})
engine = vllm.LLM(skip_tokenizer_init=True, **options)
prompts = [{"prompt_token_ids": ids} for ids in request["prompts"]]
sampling = vllm.SamplingParams(**request["sampling"])
seconds = []
for _ in range(2):
    start = time.perf_counter()
    engine.generate(prompts, sampling, use_tqdm=False)
    seconds.append(time.perf_counter() - start)
json.dump({"seconds": min(seconds), "version": vllm.__version__}, open(sys.argv[2], "w"))
"""
# On a CPU, vLLM reserves a share of the memory for its cache unless given a number of GB.
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}


def vllm_generation(python: str, loaded: LoadedModel, prompts: list[str], load: "Load") -> dict[str, Any]:
    """Return the seconds for all continuations and vLLM's version; `python` is the interpreter of its environment."""
    tokens = load.prompt_tokens + load.new_tokens
    ids = [row[: load.prompt_tokens] for row in loaded.tokenizer(prompts)["input_ids"]]
    sampling = {"n": load.samples, "top_p": load.top_p, "ignore_eos": True, "detokenize": False}
    with tempfile.TemporaryDirectory() as folder:
        loaded.model.save_pretrained(folder)
        dtype = str(loaded.model.dtype).removeprefix("torch.")
        options = {"model": folder, "dtype": dtype, "max_model_len": tokens + 8, "max_num_seqs": 160}
        document = {"options": options, "prompts": ids, "sampling": sampling | {"max_tokens": load.new_tokens}}
        request, answer = Path(folder) / "request.json", Path(folder) / "answer.json"
        request.write_text(json.dumps(document), encoding="utf-8")
        # OMP_WAIT_POLICY is tuned for this package.
        environment = {
            name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "PYTHONPATH")
        }
        command = [python, "-c", DRIVER, str(request), str(answer)]
        try:
            run = subprocess.run(command, env=ENVIRONMENT | environment, capture_output=True, text=True)
        except OSError as error:
            raise LMSteerError(f"--against vllm={python}: {error.strerror}") from None
        if run.returncode:
            print(run.stderr[-2000:], file=sys.stderr)
            last = (run.stderr.strip().splitlines() or ["no message"])[-1]
            raise LMSteerError(f"--against vllm={python}: vLLM did not run there ({last[:200]})")
        result: dict[str, Any] = read_answer(answer, {"seconds": float, "version": str}, f"--against vllm={python}")
        return result
