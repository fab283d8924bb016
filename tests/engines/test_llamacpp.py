"""llama.cpp, of an environment of its own that `make engines` sets up: exports of several families steer there."""

from pathlib import Path

import pytest
import torch
from engines.reference import FEW, PROMPTS, agreement, asked, greedy
from engines.small import save_small, strong_steer
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm_steer import LMSteerError
from lm_steer.interop.engines import runs
from lm_steer.interop.export import export
from lm_steer.interop.llamacpp import Expected, probe, write_gguf

PYTHON = Path(__file__).parents[2] / ".engines/llamacpp/bin/python"
VALUES = {"mood": 5.0, "corpus": 1.0}

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not PYTHON.exists(), reason="llama.cpp is not set up: make engines"),
]


@pytest.mark.parametrize(
    ("family", "form"),
    [(family, form) for form in ("checkpoint", "adapter") for family in runs("llama.cpp", form)],
)
def test_an_export_steers_in_llama_cpp(folder, family, form, tmp_path, note):
    """Each prefix of the reference's text asks for one token; free-running agreement is told beside it."""
    model_folder = save_small(family, folder, tmp_path / family)
    model = AutoModelForCausalLM.from_pretrained(model_folder).eval()
    steer = strong_steer(model.config.hidden_size)
    output = tmp_path / "out"
    error = export(steer, VALUES, model_folder, output, form, "llama.cpp", python=str(PYTHON))
    files = (output / "steered.gguf", "") if form == "checkpoint" else (output / "base.gguf", output / "adapter.gguf")
    note(
        "llama.cpp", family, form, error, *_agreement((model, AutoTokenizer.from_pretrained(folder)), steer, files, FEW)
    )
    assert error <= 1e-3


def test_the_embedded_model_steers_in_llama_cpp(folder, loaded, steer, tmp_path, note):
    from lm_steer import Steer

    read = Steer.from_pretrained(steer)
    error = export(read, VALUES, folder, tmp_path / "out", "checkpoint", "llama.cpp", python=str(PYTHON))
    forced, running, tokens = _agreement(loaded, read, (tmp_path / "out/steered.gguf", ""), PROMPTS)
    note("llama.cpp", "SmolLM2", "checkpoint", error, forced, running, tokens)
    assert tokens >= 1000 and forced >= 0.99 and error <= 1e-3


def test_a_gguf_without_the_steer_is_refused(folder, tmp_path):
    """As llama.cpp makes of a family whose own head it does not read: here of the plain model."""
    model_folder = save_small("llama", folder, tmp_path / "llama")
    model = AutoModelForCausalLM.from_pretrained(model_folder).eval()
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    with torch.no_grad():
        plain = model(ids).logits[:, -1]
        with strong_steer(model.config.hidden_size).attach(model).at(VALUES):
            steered = model(ids).logits[:, -1]
    given = (model_folder, "checkpoint", model_folder, "f32", str(PYTHON))
    with pytest.raises(LMSteerError, match="does not steer as the attached steer does: its logits in f32 are off by 1"):
        write_gguf(*given, Expected(ids, steered, plain))
    assert write_gguf(*given, Expected(ids, plain, steered)) <= 1e-3


def _agreement(loaded, steer, files, prompts) -> tuple[float, float, int]:
    base, lora = files
    texts = [greedy(loaded, steer, prompt, VALUES) for prompt in prompts]
    asking, counts = map(list, zip(*asked(texts), strict=True))
    answers = probe(str(PYTHON), base, str(lora), asking, counts, 0)
    return agreement(texts, [answer["ids"] for answer in answers])
