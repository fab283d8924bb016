"""Test and measure the GPU path: the tests in tests/gpu, then `lm-steer bench` on the paper's shapes.

    make gpu PYTHON=python3                              # installs nothing; under nine minutes on an H100
    python workflow/scripts/gpu.py --device cpu          # a small rehearsal on a CPU

Prints a table per shape and, as its last line, everything as JSON. Needs pytest, but of lm-steer's dependencies neither
pydantic nor those of the hub and the workflow.
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
    """Run the GPU tests alone, without the configuration of the other tests; return pytest's exit code."""
    os.environ["LM_STEER_GPU_TESTS_ON"] = device
    folder = str(ROOT / "tests/gpu")
    apart = ["-c", os.devnull, "--rootdir", folder, "--confcutdir", folder, "-p", "no:cacheprovider"]
    return int(pytest.main(["-q", "--import-mode=importlib", "-W", "ignore", *apart, folder]))


def main() -> None:
    """Test and measure; a shape is skipped with a message if too little time remains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="time limit; no shape is started in the last two minutes"
    )
    parser.add_argument("--no-tests", action="store_true", help="measure only")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no GPU available: pass `--device cpu` for a rehearsal on the CPU")
    start = time.monotonic()
    failed = 0 if options.no_tests else tests(options.device)
    measurements = []
    for shape, dtype, load in PLANS:
        if time.monotonic() - start > 60 * (options.minutes - 2):
            print(f"{shape}: skipped, because less than two minutes remain")
            continue
        on_gpu = options.device == "cuda"
        loaded = random_model(shape, dtype if on_gpu else "float32", options.device, **({} if on_gpu else SMALL))
        measurements.append(bench(loaded, load if on_gpu else TINY))
        print(table(measurements[-1]), flush=True)
        del loaded
        torch.cuda.empty_cache()
    seconds = round(time.monotonic() - start)
    verdict = "not run" if options.no_tests else "failed" if failed else "passed"
    print(json.dumps({"tests": verdict, "seconds": seconds, "shapes": measurements}))
    sys.exit(failed)


if __name__ == "__main__":
    main()
