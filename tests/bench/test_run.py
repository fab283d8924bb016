import gc
import json
import sys

import pytest

from lm_steer import cli
from lm_steer.bench.measure import Cost, fastest, machine_limit
from lm_steer.bench.run import Load, bench, operations
from lm_steer.bench.shapes import random_model
from lm_steer.bench.table import table
from lm_steer.util.errors import LMSteerError

LOAD = Load(prompts=4, samples=2, prompt_tokens=6, new_tokens=4, steps=2, batch=2, text_tokens=8, rank=4)


@pytest.fixture(autouse=True)
def little_to_collect():
    """Garbage is collected before each measurement, which takes half a second with all that tests have imported."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def shape():
    sizes = {"vocab_size": 500, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    return random_model("pythia-70m", device="cpu", **sizes)


def test_each_work_is_measured_in_every_way(shape):
    found = json.loads(json.dumps(bench(shape, LOAD)))
    assert [row["work"] for row in found["rows"]] == ["generation", "training", "perplexity"]
    for row in found["rows"]:
        assert all(row[key] > 0 for key in ("ours", "first", "plain", "limit", "peak", "plain_peak"))
    generation, training, perplexity = found["rows"]
    assert generation["steered"] > 0 and training["known"] > 0
    assert generation["single"] > 0 and perplexity["single"] > 0
    assert found["memory"]["parameters"] == shape.model.num_parameters()
    printed = table(found)
    assert all(word in printed for word in ("generation", "training", "perplexity", "limit", "GB"))
    head = shape.model.get_output_embeddings()
    assert not head._forward_pre_hooks and not head._forward_hooks, "nothing is left on the model"


def test_only_the_ways_that_are_asked_for_are_measured(shape):
    found = bench(shape, LOAD, ["single"])
    assert all(row["plain"] is None for row in found["rows"]) and found["rows"][0]["single"] > 0
    printed = table(found)
    assert "transformers, one text at a time" in printed and "transformers, batched" not in printed


@pytest.mark.parametrize(("python", "message"), [("/no/python", "No such file"), (sys.executable, "vLLM did not run")])
def test_an_environment_without_vllm_is_refused_in_a_sentence(shape, python, message):
    with pytest.raises(LMSteerError, match=f"--against vllm={python}: {message}"):
        bench(shape, LOAD, [f"vllm={python}"])


def test_operations_are_two_a_weight(shape):
    body, head = operations(shape)
    assert head == 2 * 500 * 32
    embeddings = 500 * 32
    assert body == 2 * (shape.model.num_parameters() - embeddings - 500 * 32)


def test_a_tied_head_counts_once_and_not_in_the_body():
    body, head = operations(random_model("gpt2", device="cpu", n_layer=0, n_embd=16, n_head=2, vocab_size=300))
    # What is left of a model without layers is the last normalisation.
    assert (body, head) == (2 * 2 * 16, 2 * 300 * 16)


def test_the_command_ends_with_one_json_document(loaded, monkeypatch, capsys):
    small = {"prompts": 2, "samples": 1, "new-tokens": 2, "steps": 1, "batch": 2, "text-tokens": 6, "rank": 2}
    options = [part for name, value in small.items() for part in (f"--{name}", str(value))]
    model = loaded.model.config._name_or_path
    monkeypatch.setattr(sys, "argv", ["lm-steer", "bench", "--model", model, "--device", "cpu", *options])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["work"] for row in found["rows"]] == ["generation", "training", "perplexity"]


@pytest.mark.parametrize("way", ["vllm=", "vllm", "Transformers"])
def test_a_way_that_there_is_not_is_refused(way, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lm-steer", "bench", "--against", way])
    with pytest.raises(SystemExit, match="--against: expected transformers, single or vllm=PYTHON"):
        cli.main()


def test_the_limit_is_measured(shape):
    limit = machine_limit(shape.device, shape.model.dtype)
    assert limit.flops > 1e8 and limit.bandwidth > 1e7


def test_of_several_runs_the_fastest_counts_with_the_highest_peak():
    assert fastest([Cost(2.0, 5), Cost(1.0, 3)]) == Cost(1.0, 5)
