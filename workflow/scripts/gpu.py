"""Is the GPU path right, and how fast is it? The tests marked `gpu`, then `lm-steer bench` on the paper's shapes.

    make gpu PYTHON=python3                              # installs nothing; under nine minutes on an H100
    python workflow/scripts/gpu.py --device cpu          # a rehearsal in small, on a processor

It prints a table for each shape and, as its last line, all of it as JSON. It needs pytest, and of lm-steer's own
dependencies neither pydantic nor those of the hub and the workflow.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import pytest  # noqa: E402
import torch  # noqa: E402

from lm_steer.bench.run import Load, bench  # noqa: E402
from lm_steer.bench.shapes import random_model  # noqa: E402
from lm_steer.bench.table import table  # noqa: E402

# Shape, dtype and work: GPT2-Large trains and generates in the paper, GPT2-XL judges perplexity.
PLANS = (
    ("gpt2-large", "float16", Load(prompts=1280, samples=25, steps=200, batch=32)),
    ("gpt2-xl", "float16", Load(prompts=480, samples=25, steps=100, batch=32)),
)
TINY = Load(prompts=2, samples=2, prompt_tokens=6, new_tokens=4, steps=1, batch=2, text_tokens=8, rank=4)
SMALL = {"n_layer": 2, "n_embd": 64, "n_head": 4, "vocab_size": 500}


def tests(device: str) -> int:
    """Run the tests by themselves, without what the other tests need; return pytest's exit code."""
    os.environ["LM_STEER_GPU_TESTS_ON"] = device
    folder = str(ROOT / "tests/gpu")
    apart = ["-c", os.devnull, "--rootdir", folder, "--confcutdir", folder, "-p", "no:cacheprovider"]
    return int(pytest.main(["-q", "--import-mode=importlib", "-W", "ignore", *apart, folder]))


def main() -> None:
    """Test and measure; a shape for which too little time is left is named and left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, default=9.0, help="no shape is begun in the last two of them")
    parser.add_argument("--no-tests", action="store_true", help="measure only")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("there is no GPU: `--device cpu` rehearses on a processor")
    start = time.monotonic()
    failed = 0 if options.no_tests else tests(options.device)
    found = []
    for shape, dtype, load in PLANS:
        if time.monotonic() - start > 60 * (options.minutes - 2):
            print(f"{shape}: left out, for there are less than two minutes left")
            continue
        on_gpu = options.device == "cuda"
        loaded = random_model(shape, dtype if on_gpu else "float32", options.device, **({} if on_gpu else SMALL))
        found.append(bench(loaded, load if on_gpu else TINY))
        print(table(found[-1]), flush=True)
        del loaded
        torch.cuda.empty_cache()
    seconds = round(time.monotonic() - start)
    verdict = "not run" if options.no_tests else "failed" if failed else "passed"
    print(json.dumps({"tests": verdict, "seconds": seconds, "shapes": found}))
    sys.exit(failed)


if __name__ == "__main__":
    main()
