"""llama.cpp, of an environment of its own that `make engines` sets up: exports of several families steer there."""

from pathlib import Path

import pytest
from engines.reference import FEW, PROMPTS, agreement, asked, greedy
from engines.small import save_small, strong_steer
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm_steer import LMSteerError
from lm_steer.interop.engines import runs
from lm_steer.interop.export import export
from lm_steer.interop.gguf import probe

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
    assert error <= 1e-2


def test_the_embedded_model_steers_in_llama_cpp(folder, loaded, steer, tmp_path, note):
    from lm_steer import Steer

    read = Steer.from_pretrained(steer)
    error = export(read, VALUES, folder, tmp_path / "out", "checkpoint", "llama.cpp", python=str(PYTHON))
    forced, running, tokens = _agreement(loaded, read, (tmp_path / "out/steered.gguf", ""), PROMPTS)
    note("llama.cpp", "SmolLM2", "checkpoint", error, forced, running, tokens)
    assert tokens >= 1000 and forced >= 0.99 and error <= 1e-2


@pytest.mark.parametrize("family", ["gemma", "gemma2"])
def test_a_family_that_drops_its_steer_is_refused_by_the_check_too(folder, family, tmp_path, monkeypatch):
    """What `lm-steer engines` says of it is left out here."""
    monkeypatch.setattr("lm_steer.interop.export.check_engine", lambda *given: None)
    model_folder = save_small(family, folder, tmp_path / family)
    steer = strong_steer(64)
    with pytest.raises(LMSteerError):
        export(steer, VALUES, model_folder, tmp_path / "out", "checkpoint", "llama.cpp", python=str(PYTHON))
    assert not (tmp_path / "out").exists()


def _agreement(loaded, steer, files, prompts) -> tuple[float, float, int]:
    base, lora = files
    texts = [greedy(loaded, steer, prompt, VALUES) for prompt in prompts]
    asking, counts = map(list, zip(*asked(texts), strict=True))
    answers = probe(str(PYTHON), base, str(lora), asking, counts, 0)
    return agreement(texts, [answer["ids"] for answer in answers])
