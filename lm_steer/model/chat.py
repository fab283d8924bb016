"""Prompts for chat models: messages rendered by the tokenizer's chat template.

    chat_prompt(tokenizer, "How was the film?")              # "<|im_start|>user\\nHow was the film?<|im_end|>\\n<|im_…"
    chat_answer(tokenizer, "How was the film?", "A joy.")    # "A joy.<|im_end|>\\n"

Both are plain texts, which tokenise to the tokens of `apply_chat_template`, so that training, generation and perplexity
treat a chat prompt and its answer like any other prompt and continuation.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from transformers import PreTrainedTokenizerBase
from transformers.utils import chat_template_utils

from lm_steer.util.errors import LMSteerError, reason_of
from lm_steer.util.messages import ChatPrompt, Message, messages_of
from lm_steer.util.options import is_whole

# Lines of Python that a template may run, characters that it may add to its messages (also the largest product it may
# compute), and bytes that it may fill. Typical templates need thousands.
MOST_LINES, MOST_CHARACTERS, MOST_BYTES = 5 * 10**6, 10**6, 1 << 30
# These limits are set for the whole process.
_LOCK = RLock()


def as_given(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[str]:
    """Return prompts as model inputs: a `ChatPrompt` rendered by the chat template, any other unchanged."""
    return [chat_prompt(tokenizer, prompt) if isinstance(prompt, ChatPrompt) else prompt for prompt in prompts]


def chat_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """Render a user message, or messages as JSON, up to where the answer begins.

    Raises LMSteerError if the messages end with an answer, the tokenizer has no chat template, the template rejects the
    messages, or the text does not tokenise as `apply_chat_template` does.
    """
    messages = messages_of(prompt)
    if messages[-1]["role"] == "assistant":
        raise LMSteerError(f"the messages {prompt[:60]!r} end with the assistant's: end them with a user's message")
    return _rendered(tokenizer, messages, add_generation_prompt=True)


def chat_answer(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> str:
    """Render the answer to a prompt, including its end of turn.

    Raises LMSteerError if the template drops the answer, or renders the prompt differently once an answer follows.
    """
    before = chat_prompt(tokenizer, prompt)
    whole = _rendered(tokenizer, [*messages_of(prompt), {"role": "assistant", "content": answer}])
    completion = whole.removeprefix(before)
    if completion == whole or answer.strip() not in completion:
        raise LMSteerError(
            f"the chat template of {_name(tokenizer)} drops the answer {answer[:60]!r} or changes the text before it: "
            "train on texts without messages, or give the tokenizer another template"
        )
    return completion


def end_tokens(tokenizer: PreTrainedTokenizerBase, generation: object) -> set[int]:
    """Return the token ids that end an answer, from tokenizer and generation config; LMSteerError for invalid ids."""
    ends = getattr(generation, "eos_token_id", None)
    ids = [*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id]
    if wrong := [end for end in ids if end is not None and not is_whole(end)]:
        raise LMSteerError(f"generation_config.json, eos_token_id: expected a token id, found {wrong[0]!r:.80}")
    return {end for end in ids if end is not None}


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: list[Message], add_generation_prompt: bool = False) -> str:
    if not tokenizer.chat_template:
        raise LMSteerError(
            f"the tokenizer of {_name(tokenizer)} has no chat template: use a chat model, or prompts without messages"
        )
    try:
        with _LOCK, _bounded_memory(), _bounded():
            text = str(
                tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)
            )
        if not 0 < len(text) <= MOST_CHARACTERS + sum(len(message["content"]) for message in messages):
            raise ValueError(f"it returns {len(text):,} characters")
        if re.search("[\ud800-\udfff]", text):
            raise ValueError("it returns half of a surrogate pair, which is not valid text")
    # A template is a program and may raise anything.
    except Exception as error:
        reason = reason_of(error)[:200]
        raise LMSteerError(f"the chat template of {_name(tokenizer)} rejects the messages ({reason})") from None
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    # The tokenizer would add the first token that the template has already added.
    if tokenizer("")["input_ids"] == [tokenizer.bos_token_id] == ids[:1]:
        text = text.removeprefix(str(tokenizer.bos_token))
    if tokenizer(text)["input_ids"] != ids:
        raise LMSteerError(
            f"the tokenizer of {_name(tokenizer)} adds other special tokens to a text than its chat template does: "
            "give it a chat template that adds the same ones"
        )
    return text


class _Sandbox(ImmutableSandboxedEnvironment):
    """A sandbox that bounds products and powers, and computes them at run time instead of at compile time."""

    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Return a product or power; ValueError, before computing it, if it is too large."""
        first, second = (abs(side) if isinstance(side, int | float) else len(side) for side in (left, right))
        if (first * second if operator == "*" else first ** min(second, 99)) > MOST_CHARACTERS:
            raise ValueError(f"it computes {left!r:.40} {operator} {right!r:.40}")
        return super().call_binop(context, operator, left, right)


@contextmanager
def _bounded() -> Iterator[None]:
    """Stop a template that runs too long with RuntimeError: jinja bounds each loop, but not nested ones together."""
    steps, before, sandbox = iter(range(MOST_LINES)), sys.gettrace(), chat_template_utils.ImmutableSandboxedEnvironment

    def count(*_: Any) -> Any:
        if next(steps, None) is None:
            raise RuntimeError(f"it takes more than {MOST_LINES:,} steps")
        return count

    def start(frame: Any, *_: Any) -> Any:
        # Compiling takes more lines than running, but always ends.
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


@contextmanager
def _bounded_memory() -> Iterator[None]:
    """Bound the memory of a template, which may double a text in a loop; only on Linux, which reports what is used.

    RLIMIT_DATA does not count the addresses that CUDA reserves, and holds for the milliseconds that a template takes.
    """
    statm = Path("/proc/self/statm")
    if not statm.exists():
        yield
        return
    import resource  # Windows has none

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = int(statm.read_text().split()[5]) * resource.getpagesize() + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most if soft == resource.RLIM_INFINITY else min(most, soft), hard))
    try:
        yield
    except MemoryError:
        raise MemoryError(f"it fills more than {MOST_BYTES >> 20:,} MB") from None
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return tokenizer.name_or_path or type(tokenizer).__name__
