"""Chat messages, stored as JSON where a text is expected: in a column, a prompt file, a key of a cache.

messages_of("How was it?")                                       # [{"role": "user", "content": "How was it?"}]
messages_of('[{"role": "system", "content": "Be brief."}, …]')   # the messages themselves
"""

import json
from typing import Any, TypeGuard

from lm_steer.util.errors import LMSteerError

Message = dict[str, str]


class ChatPrompt(str):
    """A prompt that is a user's message, or JSON messages: the model reads it through its chat template."""


def is_messages(value: Any) -> TypeGuard[list[Message]]:
    """Whether a value is a list of messages, each with a role and a content."""
    return isinstance(value, list) and bool(value) and all(map(_is_message, value))


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in ("role", "content"))


def as_text(messages: list[Message]) -> str:
    """Return the roles and contents of messages as JSON."""
    return json.dumps(
        [{name: message[name] for name in ("role", "content")} for message in messages], ensure_ascii=False
    )


def text_of(prompt: Any) -> str:
    """Return a prompt, a text or a list of messages, as text; LMSteerError if it is neither."""
    if is_messages(prompt):
        return as_text(prompt)
    if not isinstance(prompt, str):
        raise LMSteerError(f"expected a prompt as a text or a list of messages, found {prompt!r:.80}")
    return prompt


def holds_messages(text: str) -> bool:
    """Whether a text is JSON messages."""
    if not text.startswith("[{"):
        return False
    try:
        return is_messages(json.loads(text))
    except ValueError:
        return False


def messages_of(text: str) -> list[Message]:
    """Return the messages of a JSON text; any other text is one message of a user."""
    messages: list[Message] = json.loads(text) if holds_messages(text) else [{"role": "user", "content": text}]
    return messages


def with_system(text: str, system: str) -> str:
    """Return messages with a system message before them, as JSON; the text itself if `system` is empty.

    Raises LMSteerError if the messages already have one: which of the two a template uses is undefined.
    """
    if not system:
        return text
    messages = messages_of(text)
    if any(message["role"] == "system" for message in messages):
        raise LMSteerError(f"the messages {text[:60]!r} already have a system message: leave out one of the two")
    return as_text([{"role": "system", "content": system}, *messages])


def prompt_of(text: str, chat: bool) -> str:
    """Return a prompt as text to be continued, or as a `ChatPrompt` to be answered, as JSON messages always are."""
    return ChatPrompt(text) if chat or holds_messages(text) else text
