import re
from types import SimpleNamespace

import pytest
import tiny
from tokenizers.processors import TemplateProcessing

from lm_steer import LMSteerError
from lm_steer.model.chat import as_given, chat_answer, chat_prompt, end_tokens
from lm_steer.util.messages import ChatPrompt, as_text, messages_of, with_system

QUESTION = "What is the film?"
TALK = [
    {"role": "user", "content": QUESTION},
    {"role": "assistant", "content": "A joy."},
    {"role": "user", "content": "And the music?"},
]


@pytest.mark.parametrize("messages", [TALK[:1], TALK, [{"role": "system", "content": "Be warm."}, *TALK]])
@pytest.mark.parametrize("starts", [False, True])
def test_prompts_and_answers_are_those_of_apply_chat_template(messages, starts):
    """With a tokenizer that puts a first token before every text as well, which must not stand there twice."""
    tokenizer = tiny.make_chat_tokenizer(("{{ bos_token }}" if starts else "") + tiny.CHAT_TEMPLATE)
    if starts:
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", 0)]
        )
    expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    prompt = chat_prompt(tokenizer, as_text(messages))
    assert tokenizer(prompt)["input_ids"] == expected
    answered = [*messages, {"role": "assistant", "content": "It is warm."}]
    whole = tokenizer.apply_chat_template(answered, return_dict=True)["input_ids"]
    assert tokenizer(prompt + chat_answer(tokenizer, as_text(messages), "It is warm."))["input_ids"] == whole


def test_a_text_is_a_users_message_and_a_system_message_stands_first():
    tokenizer = tiny.make_chat_tokenizer()
    assert messages_of(QUESTION) == TALK[:1]
    assert chat_prompt(tokenizer, QUESTION) == f"user:\n{QUESTION}<eos>assistant:\n"
    assert chat_prompt(tokenizer, with_system(QUESTION, "Be warm.")).startswith("system:\nBe warm.<eos>user:\n")
    assert as_given(tokenizer, [QUESTION, ChatPrompt(QUESTION)]) == [QUESTION, chat_prompt(tokenizer, QUESTION)]


def test_messages_have_one_system_message_and_something_to_answer():
    own = as_text([{"role": "system", "content": "Be brief."}, *TALK])
    with pytest.raises(LMSteerError, match="already have a system message: leave out one"):
        with_system(own, "Be warm.")
    assert with_system(own, "") == own
    with pytest.raises(LMSteerError, match="end with the assistant's: end them with a user's message"):
        chat_prompt(tiny.make_chat_tokenizer(), as_text(TALK[:2]))


@pytest.mark.parametrize(
    "template, message",
    [
        (None, "has no chat template: use a chat model"),
        ("{{ raise_exception('roles must alternate') }}", r"rejects the messages \(roles must alternate\)"),
        ("{{ '' }}", r"rejects the messages \(it returns 0 characters\)"),
        ("{{ 'a' * 2000000 }}", r"it computes 'a' \* 2000000"),
        ("{{ 'a' * 999999999 }}", r"it computes 'a' \* 999999999"),
        ("{{ 9 ** (9 ** 9) }}", r"it computes 9 \*\* 9\)"),
        ("{{ 'a' | center(2000000) }}", "it returns 2,000,000 characters"),
        ("{{ 'a'.center(2000000000) }}", "it fills more than 1,024 MB"),
        (
            "{% set ns = namespace(x='abcdefgh') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
            "it fills more than 1,024 MB",
        ),
        ("{{ '\\ud800' }}", "half of a surrogate pair"),
        (
            "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
            "it takes more than 5,000,000 steps",
        ),
        ("{{ messages[0].content }}{% if add_generation_prompt %}:{% endif %}", "drops the answer 'A joy.'"),
        ("{% for message in messages %}{{ loop.length }}{{ message.content }}{% endfor %}", "drops the answer"),
    ],
)
def test_a_template_that_does_not_serve_is_named(template, message):
    tokenizer = tiny.make_chat_tokenizer(template)
    with pytest.raises(LMSteerError, match=message) as raised:
        chat_answer(tokenizer, QUESTION, "A joy.")
    assert not re.search("\n", str(raised.value))


@pytest.mark.parametrize("end", ["x", [[]], {"a": 1}, True, 1.5])
def test_an_end_that_is_no_token_is_named(end):
    with pytest.raises(LMSteerError, match="eos_token_id: expected a token id"):
        end_tokens(tiny.make_chat_tokenizer(), SimpleNamespace(eos_token_id=end))


def test_a_tokenizer_that_adds_tokens_of_its_own_is_named():
    tokenizer = tiny.make_chat_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    with pytest.raises(LMSteerError, match="adds other special tokens to a text than its chat template does"):
        chat_prompt(tokenizer, QUESTION)
