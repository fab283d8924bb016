"""Answers: prompts through the chat template, cut where their turn ends, judged given the same words."""

from pathlib import Path

import pytest
import tiny
import torch

import lm_steer
from lm_steer import LMSteerError
from lm_steer.data.prompt_files import as_chat, prompt_rows, read_generations
from lm_steer.generation.continuations import Sampling, continuations
from lm_steer.generation.jobs import Job, run_jobs
from lm_steer.model.chat import chat_prompt
from lm_steer.model.load import LoadedModel
from lm_steer.score.perplexity import causal_lm
from lm_steer.score.store import Item
from lm_steer.util.files import write_jsonl
from lm_steer.util.messages import ChatPrompt, with_system

QUESTIONS = ["What is the film?", "And the music?"]
SAMPLING = Sampling(samples=8, new_tokens=6, top_p=1)


@pytest.fixture
def chat(loaded) -> LoadedModel:
    tokenizer = tiny.make_chat_tokenizer()
    tokenizer.pad_token = loaded.tokenizer.pad_token
    return LoadedModel(loaded.model, tokenizer, loaded.fingerprint, loaded.name)


def test_an_answer_ends_before_the_first_of_the_tokens_that_end_it(chat, monkeypatch):
    asked = [ChatPrompt(question) for question in QUESTIONS]
    whole = continuations(chat, asked, SAMPLING, "whole")[0][0]
    # The random model hardly ends a turn by itself: let a token of an answer do so.
    monkeypatch.setattr(chat.model.generation_config, "eos_token_id", [chat.tokenizer(whole)["input_ids"][-1]])
    cut = continuations(chat, asked, SAMPLING, "cut")[0][0]
    assert len(cut) < len(whole) and whole.startswith(cut)


def test_an_answer_may_end_with_a_special_token_and_a_continuation_beside_it_may_not(chat):
    weight = torch.zeros(1, chat.model.config.vocab_size)
    weight[0, chat.tokenizer.eos_token_id] = 1.0
    asked = [QUESTIONS[0], ChatPrompt(QUESTIONS[1])]
    with lm_steer.Steer(("end",), {"o": weight}, "offset", 1.0).attach(chat.model).at(end=1000):
        texts, answers = continuations(chat, asked, SAMPLING, "both")
        assert answers == [""] * SAMPLING.samples and all(texts)
        assert continuations(chat, asked[:1], SAMPLING, "text") == [texts]


def test_python_and_jobs_ask_alike(chat, tmp_path):
    options = {"samples": 2, "new_tokens": 4}
    asked = lm_steer.generate(chat.model, chat.tokenizer, QUESTIONS, chat=True, system="Be warm.", **options)
    as_messages = [
        [{"role": "system", "content": "Be warm."}, {"role": "user", "content": question}] for question in QUESTIONS
    ]
    assert lm_steer.generate(chat.model, chat.tokenizer, as_messages, chat=True, **options) == asked
    assert lm_steer.generate(chat.model, chat.tokenizer, QUESTIONS, chat=True, **options) != asked
    for name, rows, told in (("a", prompt_rows(QUESTIONS), True), ("b", as_chat(prompt_rows(QUESTIONS)), False)):
        write_jsonl(tmp_path / "prompts.jsonl", rows)
        job = Job(tmp_path / f"{name}.jsonl", tmp_path / "prompts.jsonl", {}, {}, system="Be warm.", chat=told)
        run_jobs([job], lambda: chat, Sampling(**options), tmp_path / "cache")
        prompts, samples = read_generations(job.output)
        assert samples == asked and prompts == QUESTIONS
        assert all(isinstance(prompt, ChatPrompt) for prompt in prompts)


def test_perplexity_is_given_the_templated_prompt_and_kept_apart(chat):
    judge = causal_lm(chat, "judge")
    plain, asked = (kind(QUESTIONS[0]) for kind in (str, ChatPrompt))
    templated = chat_prompt(chat.tokenizer, QUESTIONS[0])
    items = [Item(plain, "A joy."), Item(asked, "A joy."), Item(templated, "A joy.")]
    scores = dict(judge.judge(items))
    assert scores[1] == pytest.approx(scores[2]) and scores[0] != pytest.approx(scores[1])
    assert judge.text(items[0]) != judge.text(items[1])


@pytest.mark.parametrize(
    "row, options, message",
    [
        ({"text": "Why?"}, {"system": "Be warm."}, "a system message is for chat prompts"),
        ({"text": with_system("Why?", "Be warm.")}, {"prefix": "Oh, "}, "messages take no prefix"),
        ({"text": "Why?", "chat": True}, {}, "has no chat template"),
    ],
)
def test_a_prompt_that_cannot_be_put_is_named(loaded, tmp_path: Path, row, options, message):
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": row}])
    with pytest.raises(LMSteerError, match=message):
        run_jobs(
            [Job(tmp_path / "out.jsonl", tmp_path / "prompts.jsonl", {}, **options)],
            lambda: loaded,
            SAMPLING,
            tmp_path / "cache",
        )
    assert not (tmp_path / "out.jsonl").exists()
