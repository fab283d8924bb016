"""Steps of a study in vLLM; here another program stands for vLLM, and tests/engines runs the real one."""

import json
import sys

import pytest
import tiny

from lm_steer import LMSteerError, Sampling
from lm_steer.generation.jobs import Job
from lm_steer.interop.vllm_engine import vllm_of
from lm_steer.interop.vllm_jobs import run_jobs
from lm_steer.interop.vllm_perplexity import causal_lm
from lm_steer.model.load import load_model
from lm_steer.model.obtain import obtain
from lm_steer.score.perplexity import causal_lm as causal_lm_here
from lm_steer.score.store import Item
from lm_steer.util.files import read_jsonl, write_jsonl

# Answers each request by its number as a token, or by the NLL of transformers.
ENGINE = """#!{python}
import json, os, sys
given = json.load(open(sys.argv[3]))
named = os.environ["LM_STEER_VLLM"]
json.dump(dict(given, steers=named and json.load(open(named))), open("{log}", "w"))
if given["sampling"]:
    counts = [given["sampling"][one["sampling"]]["max_tokens"] for one in given["requests"]]
    answers = [[2 + number] * count for number, count in enumerate(counts)]
else:
    import torch
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(given["engine"]["model"])
    answers = []
    for one in given["requests"]:
        ids = torch.tensor(one["ids"])
        with torch.no_grad():
            losses = torch.nn.functional.cross_entropy(model(ids[None]).logits[0, :-1], ids[1:], reduction="none")
        answers.append(losses[max(0, one["start"] - 1):].sum().item())
json.dump(answers, open(sys.argv[4], "w"))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    origin, folder = tmp_path_factory.mktemp("origin"), tmp_path_factory.mktemp("models") / "tiny"
    tiny.make_model("llama").save_pretrained(origin)
    tiny.make_tokenizer().save_pretrained(origin)
    obtain("folder", str(origin), folder)
    return folder


@pytest.fixture
def python(tmp_path):
    path = tmp_path / "python"
    path.write_text(ENGINE.format(python=sys.executable, log=tmp_path / "log.json"))
    path.chmod(0o755)
    return str(path)


def test_the_files_are_those_of_other_models(model, python, tmp_path):
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": {"text": text}, "kept": 1} for text in ("The movie", "A joy")])
    tiny.make_steer(tiny.make_model("llama")).save_pretrained(tmp_path / "steer")
    steered = Job(tmp_path / "a.jsonl", tmp_path / "prompts.jsonl", {str(tmp_path / "steer"): {"style": 5.0}})
    plain = Job(tmp_path / "b.jsonl", tmp_path / "prompts.jsonl", {}, {"new_tokens": 2, "top_k": 7})
    engine = vllm_of(model, "float32", python, '{"tensor_parallel_size": 4}')
    run_jobs(engine, [steered, plain], Sampling(samples=3, new_tokens=4))
    rows = read_jsonl(tmp_path / "a.jsonl"), read_jsonl(tmp_path / "b.jsonl")
    assert [[len(row["generations"]) for row in part] for part in rows] == [[3, 3], [3, 3]]
    assert rows[0][0]["kept"] == 1
    tokenizer = tiny.make_tokenizer()
    assert rows[0][1]["generations"][2]["text"] == tokenizer.decode([7] * 4)
    assert rows[1][0]["generations"][0]["text"] == tokenizer.decode([8] * 2)
    asked = json.loads((tmp_path / "log.json").read_text())
    assert asked["engine"] == {"model": str(model), "dtype": "float32", "tensor_parallel_size": 4}
    assert [one["steer"] for one in asked["requests"]] == [{"s0.style": 5.0}] * 6 + [{}] * 6
    assert list(asked["steers"]["steers"].values()) == [str(tmp_path / "steer")]
    assert asked["sampling"][1] == {"max_tokens": 2, "top_p": 0.9, "top_k": 7}
    # Steered and plain draw by the same seeds, which differ from sample to sample.
    seeds = [one["seed"] for one in asked["requests"]]
    assert seeds[:6] == seeds[6:] and len(set(seeds)) == 6


def test_perplexity_is_that_of_the_model_here(model, python):
    texts = [("The movie was", " a joy"), ("The movie was", " dull"), ("", "A warm story"), ("The mo", "vie")]
    items = [Item(*one) for one in texts]
    engine = vllm_of(model, "float32", python, "")
    found, expected = (dict(one.judge(items)) for one in (causal_lm(engine), causal_lm_here(load_model(model), "tiny")))
    for index in range(len(items)):
        assert found[index] == pytest.approx(expected[index], rel=1e-4)
    assert causal_lm(engine).version.endswith(" vllm")


@pytest.mark.parametrize(
    ("python", "options", "message"),
    [
        ("/no/python", "", "/no/python cannot be run"),
        ("/bin/false", "", "ended with status 1"),
        ("/bin/true", "", "/bin/true gave no answer"),
        ("/bin/false", "[1]", "--vllm-options: expected a mapping"),
        ("/bin/false", "{", "--vllm-options, line 1: not valid JSON"),
        ("/bin/false", "[" * 100_000, "nested too deeply"),
        ("/bin/false", '{"model": "another"}', "leave out 'model'"),
    ],
)
def test_an_engine_that_does_not_run_is_said_and_leaves_nothing(model, tmp_path, python, options, message):
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": {"text": "The movie"}}])
    with pytest.raises(LMSteerError, match=message):
        run_jobs(
            vllm_of(model, "float32", python, options),
            [Job(tmp_path / "out.jsonl", tmp_path / "prompts.jsonl", {})],
            Sampling(samples=1),
        )
    assert not (tmp_path / "out.jsonl").exists()
