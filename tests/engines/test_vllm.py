"""The plug-in in a real vLLM, of an environment of its own that `make engines` sets up."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from lm_steer import Steer

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".engines/vllm/bin/python"
DRIVER = Path(__file__).with_name("vllm_driver.py")
PROMPTS = ["The film is", "My day at work was", "The new phone", "In the evening we", "Her speech about the law"]
VALUES = [{"mood": 5.0, "corpus": 1.0}, {"mood": -5.0, "corpus": 1.0}, {"mood": 2.0}, None, {"corpus": -1.0}]
TOKENS = 40

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not PYTHON.exists(), reason="vLLM is not set up: make engines"),
]


def environment(steer: Path) -> dict[str, str]:
    """What vLLM runs with; its own defaults are for machines of many cores."""
    return {
        **os.environ,
        "LM_STEER_VLLM": f"style={steer}",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "OMP_NUM_THREADS": "2",
    }


def answers(steer: Path, folder: Path, requests: list[dict], tmp_path: Path, **engine) -> list[dict]:
    given = {"engine": {"model": str(folder), "dtype": "float32", "max_model_len": 128, "max_num_seqs": 64, **engine}}
    (tmp_path / "requests.json").write_text(json.dumps({**given, "requests": requests}))
    command = [PYTHON, DRIVER, tmp_path / "requests.json", tmp_path / "answers.json"]
    subprocess.run(command, env=environment(steer), check=True, timeout=1200)
    return json.loads((tmp_path / "answers.json").read_text())


@torch.no_grad()
def greedy(loaded, steer: Path, prompt: str, values: dict | None) -> tuple[list[int], list[int]]:
    """Return the prompt's ids and the greedy continuation of the model with the attached steer."""
    model, tokenizer = loaded
    ids = tokenizer(prompt)["input_ids"]
    options = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False}
    with Steer.from_pretrained(steer).attach(model).at(values or {}):
        text = model.generate(torch.tensor([ids]), **options, pad_token_id=0, eos_token_id=None)
    return ids, text[0, len(ids) :].tolist()


def test_each_request_is_steered_at_its_own_values(loaded, folder, steer, tmp_path):
    """Teacher-forced: along the reference's text, each prefix asks for one token, in one batch with all others."""
    references = [(values, *greedy(loaded, steer, prompt, values)) for prompt in PROMPTS for values in VALUES]
    requests, expected = [], []
    for values, ids, text in references:
        for place, token in enumerate(text):
            requests.append({"ids": ids + text[:place], "steer": values, "max_tokens": 1})
            expected.append(token)
    free = [{"ids": ids, "steer": values, "max_tokens": TOKENS} for values, ids, _ in references]
    found = answers(steer, folder, [*requests, *free], tmp_path)
    equal = [answer["ids"] == [token] for answer, token in zip(found, expected, strict=False)]
    tokens = [
        (one, other)
        for answer, (_, _, text) in zip(found[len(requests) :], references, strict=True)
        for one, other in zip(answer["ids"], text, strict=True)
    ]
    running = sum(one == other for one, other in tokens) / len(tokens)
    forced = sum(equal) / len(equal)
    print(f"greedy agreement over {len(equal)} tokens: teacher-forced {forced:.2%}, free-running {running:.2%}")
    assert len(equal) >= 1000 and forced >= 0.99
    steered = [text for values, _, text in references if values]
    assert sum(text != other[2] for text, other in zip(steered, references, strict=False)) > len(steered) / 2


def test_the_effect_on_the_log_probabilities_is_that_of_the_attached_steer(loaded, folder, steer, tmp_path):
    model, tokenizer = loaded
    cases = [(tokenizer(prompt)["input_ids"], values) for prompt in PROMPTS for values in VALUES if values]
    requests = [
        {"ids": ids, "steer": at, "max_tokens": 1, "logprobs": -1} for ids, values in cases for at in (values, None)
    ]
    found = iter(answers(steer, folder, requests, tmp_path))
    errors = []
    for ids, values in cases:
        with torch.no_grad():
            plain = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            with Steer.from_pretrained(steer).attach(model).at(values):
                effect = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1) - plain
        steered, unsteered = (
            torch.tensor([next_["logprobs"][str(token)] for token in range(len(plain))])
            for next_ in (next(found), next(found))
        )
        errors.append(float((steered - unsteered - effect).norm() / effect.norm()))
    print(f"error of the effect over {len(errors)} prompts and values: largest {max(errors):.1e}")
    assert max(errors) <= 1e-3
