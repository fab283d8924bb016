import subprocess
import sys
import textwrap

import families
import pytest
import tiny
import torch

from lm_steer import LMSteerError
from lm_steer.bench.shapes import SHAPES, config_of, random_model
from lm_steer.generation.memory import cache_per_token, requirements

GB = 1e9


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_weights_and_cache_are_those_of_the_model(name, ids):
    model = tiny.make_model(name)
    need = requirements(model.config, "float32", rank=4)
    assert need.parameters == model.num_parameters()
    assert need.weights == sum(parameter.nbytes for parameter in model.parameters())
    layers = model(ids, use_cache=True).past_key_values.layers
    held = sum(part.nbytes for layer in layers for part in (layer.keys, layer.values))
    assert cache_per_token(model.config, 4) * ids.numel() == held


@pytest.mark.parametrize("family", ["rwkv", "mamba2", "openelm", "recurrent_gemma", "gemma4_text", "jamba"])
def test_the_cache_of_models_without_heads_or_with_other_heads_by_layer_has_a_bound(family):
    if family not in families.FAMILIES:
        pytest.skip("not in this version of transformers")
    config = families.tiny_config(family)
    assert 0 < cache_per_token(config, 2) <= 2 * 64 * 2 * 2 * families.HIDDEN


def test_half_precision_halves_weights_and_cache():
    single, half = (requirements(config_of("gpt2"), dtype) for dtype in ("float32", "float16"))
    assert (half.weights, half.cache_per_token) == (single.weights // 2, single.cache_per_token // 2)
    assert half.training < single.training


@pytest.mark.parametrize("shape, parameters", [("gpt2", 124), ("gpt2-large", 774), ("gpt2-xl", 1558), ("smollm2", 135)])
def test_shapes_have_the_known_number_of_parameters(shape, parameters):
    assert round(requirements(config_of(shape)).parameters / 1e6) == parameters


@pytest.mark.parametrize("shape", ["gpt-j-6b", "pythia-6.9b"])
def test_the_largest_models_train_and_sample_on_24_gb_in_half_precision(shape):
    need = requirements(config_of(shape), "bfloat16")
    assert 11 * GB < need.weights < 14 * GB
    assert need.training < 20 * GB
    assert need.generation(rows=250, tokens=60) < 24 * GB
    assert requirements(config_of(shape)).weights > 24 * GB


def test_gpt2_large_trains_in_6_gb():
    assert requirements(config_of("gpt2-large"), "float32").training < 6 * GB


def test_an_unknown_shape_is_refused_with_those_there_are():
    with pytest.raises(LMSteerError, match="gpt2-large"):
        random_model("gpt5")
    assert "gpt2-large" in SHAPES


def test_a_random_model_reads_and_writes_its_words():
    loaded = random_model("pythia-70m", device="cpu", vocab_size=300, num_hidden_layers=1)
    ids = loaded.tokenizer("t4 t299 t17")["input_ids"]
    assert ids == [4, 299, 17] and loaded.tokenizer.decode(ids[:1]) == "t4"
    assert loaded.model(torch.tensor([ids])).logits.shape == (1, 3, 300)


# Runs ten times the work in one process, and prints by how much that raises the peak of its memory, in MB.
SCRIPT = """
import resource, sys, tempfile
import torch
torch.set_num_threads(1)
from lm_steer.model import hidden_cache
from lm_steer.bench.run import texts
from lm_steer.generation.continuations import continuations
from lm_steer.generation.nucleus import Sampling
from lm_steer.score.perplexity import causal_lm
from lm_steer.score.store import Item
from lm_steer.bench.shapes import random_model
from lm_steer.training.learn import LabelledTexts, Recipe, learn
hidden_cache.HELD_BYTES = 1 << 20
sizes = {"vocab_size": 2000, "hidden_size": 256, "intermediate_size": 128, "num_hidden_layers": 1}
loaded = random_model("pythia-70m", device="cpu", **sizes)
def work(count):
    prompts = texts(loaded, count, 12, seed=count)
    made = continuations(loaded, prompts, Sampling(samples=2, new_tokens=4), "test")
    items = [Item(prompt, text) for prompt, samples in zip(prompts, made) for text in samples]
    sum(nll for _, (nll, _) in causal_lm(loaded, "test").judge(items))
    labelled = LabelledTexts(texts(loaded, count, 40, seed=count), [1.0] * count)
    with tempfile.TemporaryDirectory() as cache:
        learn(loaded, labelled, labelled, Recipe(("style",), rank=4, steps=count // 32, batch_size=32), cache)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
few = work(160)
print(work(1600) - few)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is in other units elsewhere")
def test_memory_does_not_grow_with_the_number_of_prompts_and_texts():
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(SCRIPT)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    # Allocators vary by some 30 MB. The states of all texts would be 64 MB and more, the logits of all tokens 500.
    assert float(result.stdout) < 50
