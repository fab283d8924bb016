"""Prompts of chat models: messages in the words that the tokenizer's chat template gives them.

    chat_prompt(tokenizer, "How was the film?")              # "<|im_start|>user\\nHow was the film?<|im_end|>\\n<|im_…"
    chat_answer(tokenizer, "How was the film?", "A joy.")    # "A joy.<|im_end|>\\n"

Both are texts, which the tokenizer turns into the tokens of `apply_chat_template`. So a prompt and an answer are a
prompt and a continuation like any other, in training, in generation and under a judge of perplexity.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from transformers import PreTrainedTokenizerBase
from transformers.utils import chat_template_utils

from lm_steer.util.errors import LMSteerError, reason_of
from lm_steer.util.messages import ChatPrompt, Message, messages_of
from lm_steer.util.options import is_whole

# Lines of Python that a template may run, and characters that it may add to its messages, which is also the largest
# product that it may compute: some thousands are usual.
MOST_LINES, MOST_CHARACTERS = 5 * 10**6, 10**6


def as_given(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[str]:
    """Return prompts as the model is given them: a `ChatPrompt` by the chat template, any other as it is."""
    return [chat_prompt(tokenizer, prompt) if isinstance(prompt, ChatPrompt) else prompt for prompt in prompts]


def chat_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """Return a user's message, or messages as JSON, up to where the answer begins.

    Raises LMSteerError where the messages end with an answer, the tokenizer has no chat template, the template does not
    take the messages, or the text is not tokenised as `apply_chat_template` does it.
    """
    messages = messages_of(prompt)
    if messages[-1]["role"] == "assistant":
        raise LMSteerError(f"the messages {prompt[:60]!r} end with the assistant's: there is nothing to answer")
    return _rendered(tokenizer, messages, asked=True)


def chat_answer(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> str:
    """Return what the template makes of the answer to a prompt, its end of turn included.

    Raises LMSteerError where the template drops the answer, or words the prompt otherwise once an answer follows.
    """
    before = chat_prompt(tokenizer, prompt)
    whole = _rendered(tokenizer, [*messages_of(prompt), {"role": "assistant", "content": answer}])
    completion = whole.removeprefix(before)
    if completion == whole or answer.strip() not in completion:
        raise LMSteerError(
            f"the chat template of {_name(tokenizer)} drops the answer {answer[:60]!r}, or changes what stands before "
            "it: train on texts without messages, or give the tokenizer another template"
        )
    return completion


def end_tokens(tokenizer: PreTrainedTokenizerBase, generation: object) -> set[int]:
    """Return the ids that end an answer, by the tokenizer and the generation config; LMSteerError where one is none."""
    ends = getattr(generation, "eos_token_id", None)
    listed = ends if isinstance(ends, list) else [ends]
    given = [end for end in (*listed, tokenizer.eos_token_id) if end is not None]
    if wrong := [end for end in given if not is_whole(end)]:
        raise LMSteerError(f"generation_config.json, eos_token_id: expected the id of a token, found {wrong[0]!r:.80}")
    return set(given)


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: list[Message], asked: bool = False) -> str:
    if not tokenizer.chat_template:
        raise LMSteerError(
            f"the tokenizer of {_name(tokenizer)} has no chat template: use a chat model, or prompts without messages"
        )
    try:
        with _bounded():
            text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asked))
        if not 0 < len(text) <= MOST_CHARACTERS + sum(len(message["content"]) for message in messages):
            raise ValueError(f"it returns {len(text):,} characters")
        if re.search("[\ud800-\udfff]", text):
            raise ValueError("it returns half of a surrogate pair, which is not valid text")
    # A template is a program of its author's, which raises what it likes.
    except Exception as error:
        reason = reason_of(error)[:200]
        raise LMSteerError(f"the chat template of {_name(tokenizer)} does not take the messages ({reason})") from None
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    # What the tokenizer puts before every text, the template has put there already.
    if tokenizer("")["input_ids"] == [tokenizer.bos_token_id] == ids[:1]:
        text = text.removeprefix(str(tokenizer.bos_token))
    if tokenizer(text)["input_ids"] != ids:
        raise LMSteerError(
            f"the tokenizer of {_name(tokenizer)} adds other tokens to a text than its chat template does: give it a "
            "template that agrees with it"
        )
    return text


class _Sandbox(ImmutableSandboxedEnvironment):
    """A sandbox in which a product is small, and is computed by the template: jinja would while it compiles it."""

    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Return a product or power; ValueError where it is too large, before it is computed."""
        first, second = (abs(side) if isinstance(side, int | float) else len(side) for side in (left, right))
        if (first * second if operator == "*" else first ** min(second, 99)) > MOST_CHARACTERS:
            raise ValueError(f"it computes {left!r:.40} {operator} {right!r:.40}")
        return super().call_binop(context, operator, left, right)


@contextmanager
def _bounded() -> Iterator[None]:
    """Raise RuntimeError in a template that runs on and on, as loops within loops do; jinja bounds each by itself."""
    steps, before, sandbox = iter(range(MOST_LINES)), sys.gettrace(), chat_template_utils.ImmutableSandboxedEnvironment

    def count(*_: Any) -> Any:
        if next(steps, None) is None:
            raise RuntimeError(f"it takes more than {MOST_LINES:,} steps")
        return count

    def start(frame: Any, *_: Any) -> Any:
        # To compile a template takes more lines than to run it, but an end.
        if frame.f_code.co_filename != "<template>":
            return None
        sys.settrace(count)
        return count

    sys.settrace(start)
    chat_template_utils.ImmutableSandboxedEnvironment = _Sandbox  # type: ignore[misc]
    try:
        yield
    finally:
        sys.settrace(before)
        chat_template_utils.ImmutableSandboxedEnvironment = sandbox  # type: ignore[misc]


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return tokenizer.name_or_path or type(tokenizer).__name__
