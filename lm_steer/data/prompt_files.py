"""Prompts and their continuations as JSON lines, in the field's common form.

    {"prompt": {"text": "The film"}, "generations": [{"text": " was a joy to watch"}]}

A prompt file has the same lines without generations; other keys are kept.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import read_jsonl


def read_prompts(path: str | Path) -> list[str]:
    """Read the prompts of a file in the field's form; LMSteerError where it has none, or an empty one."""
    prompts = [_prompt_of(row, path, number) for number, row in enumerate(read_jsonl(path), start=1)]
    if not prompts:
        raise LMSteerError(f'{path} holds no prompts: each line is {{"prompt": {{"text": …}}}}')
    return prompts


def read_generations(path: str | Path) -> tuple[list[str], list[list[str]]]:
    """Read prompts and their continuations, (prompts,) and (prompts, samples); as many samples for each prompt."""
    prompts, samples = [], []
    for number, row in enumerate(read_jsonl(path), start=1):
        prompts.append(_prompt_of(row, path, number))
        try:
            texts = [generation["text"] for generation in row["generations"]]
        except (KeyError, TypeError):
            raise LMSteerError(f"{path}, row {number}: expected text in generations[…].text") from None
        if not all(isinstance(text, str) for text in texts):
            found = next(text for text in texts if not isinstance(text, str))
            raise LMSteerError(f"{path}, row {number}: expected text in generations[…].text, found {str(found)[:40]!r}")
        samples.append(texts)
    if not prompts or not samples[0]:
        raise LMSteerError(f"{path} holds no generations")
    for number, texts in enumerate(samples, start=1):
        if len(texts) != len(samples[0]):
            raise LMSteerError(f"{path}, row {number}: {len(texts)} generations, the first row has {len(samples[0])}")
    return prompts, samples


def prompt_rows(prompts: Sequence[str]) -> list[dict[str, Any]]:
    """Put prompts into the field's form."""
    return [{"prompt": {"text": prompt}} for prompt in prompts]


def _prompt_of(row: dict[str, Any], path: str | Path, number: int) -> str:
    prompt = row.get("prompt")
    text = prompt.get("text") if isinstance(prompt, dict) else None
    if not isinstance(text, str):
        raise LMSteerError(f"{path}, row {number}: expected text in prompt.text")
    if not text.strip():
        raise LMSteerError(f"{path}, row {number}: the prompt is empty")
    return text
