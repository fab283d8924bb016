"""Read and write prompts and their continuations as JSON lines, in the field's common form.

    {"prompt": {"text": "The film"}, "generations": [{"text": " was a joy to watch"}]}

A prompt file has the same lines without generations; other keys are preserved. A prompt with `"chat": true` is a user's
message, to be answered rather than continued.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import numbered_jsonl
from lm_steer.util.messages import prompt_of

PROMPT = {"prompt": {"text": str}}
# The column of scores by which a table recognises the texts that were scored.
DIGEST = "digest"
GENERATED = {**PROMPT, "generations": [{"text": str}]}


def read_prompts(path: str | Path) -> list[str]:
    """Read the prompts of a file in the field's form; LMSteerError if it has none, or an empty one."""
    return [prompt_of_row(row) for row in read_lines(path)]


def read_lines(path: str | Path) -> list[dict[str, Any]]:
    """Read whole lines of a file in the field's form, checked as by `read_prompts`."""
    return [row for _, row in _rows(path, PROMPT)]


def first_lines(rows: list[dict[str, Any]], count: int, origin: str) -> list[dict[str, Any]]:
    """Return the first `count` lines, 0 for all; LMSteerError if `origin` has too few."""
    if len(rows) < count:
        advice = "lower `count`" if rows else "choose others"
        raise LMSteerError(f"{origin}: requested {count} prompts, only {len(rows)} available: {advice}")
    return rows[: count or None]


def read_generations(path: str | Path) -> tuple[list[str], list[list[str]]]:
    """Read prompts and their continuations, (prompts,) and (prompts, samples), the same number for each prompt."""
    prompts, samples = [], []
    for number, row in _rows(path, GENERATED):
        prompts.append(prompt_of_row(row))
        samples.append([generation["text"] for generation in row["generations"]])
        if not samples[-1] or len(samples[-1]) != len(samples[0]):
            expected = len(samples[0]) or "some"
            raise LMSteerError(f"{path}, line {number}: expected {expected} generations, found {len(samples[-1])}")
    return prompts, samples


def _rows(path: str | Path, shape: Any) -> list[tuple[int, dict[str, Any]]]:
    rows = list(numbered_jsonl(path, shape))
    if not rows:
        raise LMSteerError(f'{path} is empty: each line is {{"prompt": {{"text": …}}}}, and may have generations')
    for number, row in rows:
        if not row["prompt"]["text"].strip():
            raise LMSteerError(f"{path}, line {number}: the prompt is empty")
        if not isinstance(chat := row["prompt"].get("chat", False), bool):
            raise LMSteerError(f"{path}, line {number}: prompt.chat: expected true or false, found {chat!r:.40}")
    return rows


def prompt_of_row(row: dict[str, Any]) -> str:
    """Return the prompt of a line, a `ChatPrompt` if it is to be answered."""
    return prompt_of(row["prompt"]["text"], bool(row["prompt"].get("chat")))


def as_chat(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines with their prompts marked as a user's messages."""
    return [{**row, "prompt": {**row["prompt"], "chat": True}} for row in rows]


def prompt_rows(prompts: Sequence[str]) -> list[dict[str, Any]]:
    """Put prompts into the field's form."""
    return [{"prompt": {"text": prompt}} for prompt in prompts]


def text_digest(prompt: str, continuation: str) -> str:
    """Return sixteen hexadecimal digits that identify a text."""
    return sha256(f"{prompt}\n{continuation}".encode()).hexdigest()[:16]
