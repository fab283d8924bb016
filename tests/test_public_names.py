"""The names that `import lm_steer` gives, and its two functions for models that a program has loaded."""

import pkgutil
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import lm_steer
from lm_steer import LMSteerError

TEXTS = ["A joy to watch.", "A waste of time.", "Warm and funny.", "Cold and dull.", "The best film.", "The worst one."]
LABELS = [1, -1, 1, -1, 1, -1]


def test_every_public_name_is_what_it_was_after_all_submodules_are_imported():
    before = {name: getattr(lm_steer, name) for name in dir(lm_steer)}
    modules = [module.name for module in pkgutil.walk_packages(lm_steer.__path__, "lm_steer.")]
    for module in modules:
        # Classes of the harness and of vLLM, and kernels in Triton.
        if module not in (
            "lm_steer.interop.lm_eval",
            "lm_steer.interop.vllm",
            "lm_steer.interop.vllm_batch",
            "lm_steer.generation.triton_kernels",
        ):
            __import__(module)
    assert {name: getattr(lm_steer, name) for name in dir(lm_steer)} == before
    assert all(callable(value) for value in before.values())
    assert not {module.removeprefix("lm_steer.") for module in modules}.intersection(before)


def test_the_package_alone_imports_no_torch():
    code = "import sys, lm_steer; dir(lm_steer); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.fixture(scope="module")
def model_folder(make_loaded) -> str:
    return make_loaded("gpt2").model.config._name_or_path


@pytest.fixture(scope="module")
def parts(model_folder):
    return AutoModelForCausalLM.from_pretrained(model_folder), AutoTokenizer.from_pretrained(model_folder)


def test_a_model_that_a_program_has_loaded_trains_and_generates_as_its_folder_does(parts, model_folder, tmp_path):
    model, tokenizer = parts
    model.train()
    steer = lm_steer.train(model, tokenizer, TEXTS, LABELS, rank=2, steps=3, batch_size=2, seed=1)
    again = lm_steer.train(model, tokenizer, TEXTS, LABELS, rank=2, steps=3, batch_size=2, seed=1, cache=tmp_path)
    assert steer == again and steer.dimensions == ("style", "corpus") and steer.about["recipe"]["rank"] == 2
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())
    texts = lm_steer.generate(model, tokenizer, ["The movie"], steer, {"style": 5}, samples=2, new_tokens=4)
    loaded = lm_steer.load_model(model_folder, device="cpu")
    with steer.attach(loaded.model).at(style=5):
        other = lm_steer.generate(loaded.model, loaded.tokenizer, ["The movie"], samples=2, new_tokens=4)
    assert texts == other and len(texts[0]) == 2
    plain = lm_steer.generate(model, tokenizer, ["The movie"], steer, samples=2, new_tokens=4)
    assert plain == lm_steer.generate(model, tokenizer, ["The movie"], samples=2, new_tokens=4)


def test_two_models_in_memory_never_share_what_a_cache_keeps(parts, tmp_path):
    model, tokenizer = parts
    recipe = {"rank": 2, "steps": 2, "batch_size": 2, "cache": tmp_path}
    steer = lm_steer.train(model, tokenizer, TEXTS, LABELS, **recipe)
    other = AutoModelForCausalLM.from_config(model.config)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    assert lm_steer.train(other, tokenizer, TEXTS, LABELS, **recipe) == lm_steer.train(
        other, tokenizer, TEXTS, LABELS, **{**recipe, "cache": None}
    )
    assert lm_steer.train(model, tokenizer, TEXTS, LABELS, **recipe) == steer


@pytest.mark.parametrize(
    "change, message",
    [
        ({"rnak": 2}, "unknown argument 'rnak'"),
        ({"rank": 0}, "rank: expected a whole number from 1"),
        ({"labels": [1, -1]}, "labels: expected a finite number for each of 6 texts"),
        ({"labels": [1, -1, 1, -1, 1, 2]}, r"expected a number in \[-1, 1\] as label, found 2.0"),
        ({"texts": "one"}, "expected a list of texts"),
        ({"model": "gpt2"}, "needs a causal LM"),
        ({"tokenizer": None}, "tokenizer: expected a PreTrainedTokenizerBase"),
    ],
)
def test_arguments_that_do_not_serve_are_refused(parts, change, message):
    given = {"model": parts[0], "tokenizer": parts[1], "texts": TEXTS, "labels": LABELS, **change}
    with pytest.raises(LMSteerError, match=message):
        lm_steer.train(**given)


def test_values_without_a_steer_are_refused(parts):
    with pytest.raises(LMSteerError, match="give the steer"):
        lm_steer.generate(*parts, ["The movie"], values={"style": 5})
