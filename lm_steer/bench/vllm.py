"""The generation of the benchmark by vLLM, in a process of vLLM's own environment.

lm_steer is not imported there: the model is a folder, prompts are token ids.
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

# The fastest of two runs: the first one warms up.
DRIVER = """
import json, sys, time
import torch, vllm
asked = json.load(open(sys.argv[1]))
options = asked["options"] | ({} if torch.cuda.is_available() else {"enforce_eager": True})
engine = vllm.LLM(skip_tokenizer_init=True, **options)
prompts = [{"prompt_token_ids": ids} for ids in asked["prompts"]]
sampling = vllm.SamplingParams(**asked["sampling"])
seconds = []
for _ in range(2):
    start = time.perf_counter()
    engine.generate(prompts, sampling, use_tqdm=False)
    seconds.append(time.perf_counter() - start)
json.dump({"seconds": min(seconds), "version": vllm.__version__}, open(sys.argv[2], "w"))
"""
# On a processor vLLM takes a part of the memory for its cache, unless told how many GB.
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}


def vllm_generation(python: str, loaded: LoadedModel, prompts: list[str], load: "Load") -> dict[str, Any]:
    """Return the seconds of all continuations, and vLLM's version; `python` is that of its environment."""
    tokens = load.prompt_tokens + load.new_tokens
    ids = [row[: load.prompt_tokens] for row in loaded.tokenizer(prompts)["input_ids"]]
    sampling = {"n": load.samples, "top_p": load.top_p, "ignore_eos": True, "detokenize": False}
    with tempfile.TemporaryDirectory() as folder:
        loaded.model.save_pretrained(folder)
        dtype = str(loaded.model.dtype).removeprefix("torch.")
        options = {"model": folder, "dtype": dtype, "max_model_len": tokens + 8, "max_num_seqs": 160}
        document = {"options": options, "prompts": ids, "sampling": sampling | {"max_tokens": load.new_tokens}}
        asked, answered = Path(folder) / "asked.json", Path(folder) / "answered.json"
        asked.write_text(json.dumps(document), encoding="utf-8")
        # How threads wait is set for this package's own.
        places = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "PYTHONPATH")}
        command = [python, "-c", DRIVER, str(asked), str(answered)]
        try:
            run = subprocess.run(command, env=ENVIRONMENT | places, capture_output=True, text=True)
        except OSError as error:
            raise LMSteerError(f"--against vllm={python}: {error.strerror}") from None
        if run.returncode:
            print(run.stderr[-2000:], file=sys.stderr)
            last = (run.stderr.strip().splitlines() or ["no message"])[-1]
            raise LMSteerError(f"--against vllm={python}: vLLM did not run there ({last[:200]})")
        found: dict[str, Any] = read_answer(answered, {"seconds": float, "version": str}, f"--against vllm={python}")
        return found
