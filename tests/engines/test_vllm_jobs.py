"""The steps of a study in a real vLLM: the files are those of other models, the perplexity is that of transformers."""

import json

import pytest
from engines.test_vllm import PYTHON

from lm_steer import Sampling
from lm_steer.data.prompt_files import read_generations
from lm_steer.generation.jobs import Job
from lm_steer.interop.vllm_engine import vllm_of
from lm_steer.interop.vllm_jobs import run_jobs
from lm_steer.interop.vllm_perplexity import causal_lm
from lm_steer.model.load import load_model
from lm_steer.score.perplexity import causal_lm as causal_lm_here
from lm_steer.score.store import Item
from lm_steer.util.files import write_jsonl

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not PYTHON.exists(), reason="vLLM is not set up: make engines"),
]
PROMPTS = ["The film is", "My day at work was", "The new phone", "In the evening we"]


def test_a_study_generates_and_judges_in_vllm(folder, steer, tmp_path, monkeypatch):
    for name, value in {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "WARNING", "OMP_NUM_THREADS": "2"}.items():
        monkeypatch.setenv(name, value)
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": {"text": text}} for text in PROMPTS])
    engine = vllm_of(folder, "float32", str(PYTHON), json.dumps({"max_model_len": 128, "enforce_eager": True}))
    values = [{str(steer): {"mood": 5.0, "corpus": 1.0}}, {str(steer): {"mood": -5.0}}, {}, {}]
    jobs = [Job(tmp_path / f"{number}.jsonl", tmp_path / "prompts.jsonl", at) for number, at in enumerate(values)]
    run_jobs(engine, jobs, Sampling(samples=3, new_tokens=10))
    texts = [read_generations(job.output)[1] for job in jobs]
    assert [[len(samples) for samples in part] for part in texts] == [[3] * len(PROMPTS)] * 4
    # The seeds are those of prompt and sample: unsteered twice is the same, and a steer changes most.
    flat = [[text for samples in part for text in samples] for part in texts]
    assert flat[2] == flat[3] and len(set(flat[2])) == len(flat[2])
    for steered in flat[:2]:
        assert sum(one != other for one, other in zip(steered, flat[2], strict=True)) > len(steered) / 2
    items = [Item(prompt, text) for prompt, samples in zip(PROMPTS, texts[0], strict=True) for text in samples]
    found = dict(causal_lm(engine).judge(items))
    expected = dict(causal_lm_here(load_model(folder, "float32", "cpu"), "here").judge(items))
    for index, (nll, tokens) in expected.items():
        assert found[index] == (pytest.approx(nll, rel=1e-3), tokens)
