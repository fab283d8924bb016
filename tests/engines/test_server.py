"""A real server of vLLM, asked by a real client of OpenAI's: several users at once, each with values of their own."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from engines.reference import greedy
from engines.test_vllm import PYTHON, environment

from lm_steer import Steer

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not PYTHON.exists(), reason="vLLM is not set up: make engines"),
]
PROMPT = "The film is"


@pytest.fixture(scope="module")
def server(folder, steer, tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--dtype", "float32", "--max-model-len", "128", "--enforce-eager", "--max-num-seqs", "16"]
    options += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "smollm2"]
    options += ["--logprobs-mode", "processed_logprobs"]
    log = tmp_path_factory.mktemp("server") / "log"
    with open(log, "w") as file:
        command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", folder, *options]
        process = subprocess.Popen(command, env=environment(steer), stdout=file, stderr=file)
    address = f"http://127.0.0.1:{port}/v1"
    try:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline and process.poll() is None:
            try:
                urllib.request.urlopen(f"{address}/models", timeout=5).close()
                break
            except OSError:
                time.sleep(1)
        else:
            pytest.fail(log.read_text()[-3000:])
        yield address
    finally:
        process.terminate()
        process.wait(60)


def ask(address: str, path: str = "completions", **request) -> tuple[int, dict]:
    body = {"model": "smollm2", "temperature": 0, "max_tokens": 12, "ignore_eos": True, **request}
    if path == "completions":
        body["prompt"] = PROMPT
    call = urllib.request.Request(f"{address}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(call, timeout=300) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_users_at_once_get_each_their_own_steer(server, loaded, steer):
    """Steered and unsteered requests in one batch, each as the attached steer writes it."""
    values = [{"mood": 5.0, "corpus": 1.0}, {"mood": -5.0, "corpus": 1.0}, None] * 3
    texts = [None if at is None else " ".join(f"{name}={value:g}" for name, value in at.items()) for at in values]
    requests = [{} if text is None else {"vllm_xargs": {"steer": text}} for text in texts]
    with ThreadPoolExecutor(len(requests)) as users:
        answers = list(users.map(lambda request: ask(server, **request), requests))
    tokenizer = loaded[1]
    assert len({answer["choices"][0]["text"] for _, answer in answers}) == 3
    for at, (status, answer) in zip(values, answers, strict=True):
        assert status == 200, answer
        found = answer["choices"][0]["text"]
        print(f"{at}: {PROMPT}{found}")
        assert found == tokenizer.decode(greedy(loaded, Steer.from_pretrained(steer), PROMPT, at)[1][:12])


def test_a_chat_is_steered_after_its_template(server, loaded, steer):
    messages = [{"role": "user", "content": "How was the film?"}]
    prompt = loaded[1].apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    answers = []
    for values in ({"mood": 5.0, "corpus": 1.0}, None):
        request = {"vllm_xargs": {"steer": "mood=5 corpus=1"}} if values else {}
        status, answer = ask(server, "chat/completions", messages=messages, **request)
        assert status == 200, answer
        answers.append(answer["choices"][0]["message"]["content"])
        made = greedy(loaded, Steer.from_pretrained(steer), prompt, values)[1][:12]
        assert answers[-1] == loaded[1].decode(made, skip_special_tokens=True)
    assert answers[0] != answers[1]


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"vllm_xargs": {"steer": "mod=5"}}, "there is no dimension 'mod'"),
        ({"vllm_xargs": {"steer": "mood=nan"}}, "mood"),
        ({"vllm_xargs": {"steer": "mood"}}, "expected a name and its value"),
        ({"vllm_xargs": {"steer": 5}}, "expected values by name"),
        ({"vllm_xargs": {"steer": "mood=5"}, "logit_bias": {"5": 1}}, "cannot have logit_bias"),
        ({"vllm_xargs": {"steer": "mood=5"}, "min_tokens": 3}, "cannot have min_tokens"),
        ({"vllm_xargs": {"steer": "mood=5"}, "echo": True, "logprobs": 1}, "cannot have prompt_logprobs"),
    ],
)
def test_a_request_that_cannot_be_steered_is_refused_in_a_sentence(server, request_, sentence):
    status, answer = ask(server, **request_)
    assert status == 400 and sentence in json.dumps(answer), answer


def test_the_client_of_openai_streams_samples_and_reads_log_probabilities(server):
    script = f"""
from openai import OpenAI
client = OpenAI(base_url={server!r}, api_key="none")
steered = {{"vllm_xargs": {{"steer": "mood=5 corpus=1"}}}}
ask = dict(model="smollm2", prompt={PROMPT!r}, max_tokens=8, extra_body=steered)
whole = client.completions.create(**ask, temperature=0).choices[0].text
parts = [part.choices[0].text for part in client.completions.create(**ask, temperature=0, stream=True)]
assert "".join(parts) == whole and len(parts) > 2, parts
several = [client.completions.create(**ask, n=3, seed=7, temperature=1.0).choices for _ in range(2)]
texts = [[choice.text for choice in choices] for choices in several]
assert texts[0] == texts[1] and len(set(texts[0])) > 1, texts
first = client.completions.create(**ask, temperature=0, logprobs=2).choices[0].logprobs
assert all(max(top.values()) == chosen for top, chosen in zip(first.top_logprobs, first.token_logprobs)), first
"""
    done = subprocess.run([PYTHON, "-c", script], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
