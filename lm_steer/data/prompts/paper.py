"""The paper's prompts, from the original code's repository at its last commit.

lm-steer prompts --source paper --name positive -o results/prompts/positive.jsonl
"""

import os
from pathlib import Path
from typing import Any, Literal

from lm_steer.data.prompt_files import first_lines, read_lines
from lm_steer.data.sources import Prompts, key
from lm_steer.fetch.download import fetched
from lm_steer.util.options import Count

ORIGINAL = "Glaciohound/LM-Steer/265982f6d8027d3a2ec4b65b775cf3e704e187f5"
FILES = {
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
    "non-toxic": ("data/prompts/nontoxic_prompts-10k.jsonl", "git blob id:e94faf71a56643c9b680da52f8dbfef6d7c33051"),
}


class PaperPrompts(Prompts):
    """A file of the original code's repository: 5000 neutral, 2500 positive, 2500 negative, 10,000 non-toxic."""

    name: Literal["positive", "neutral", "negative", "non-toxic"] = key("Which prompts.")
    count: Count = key("How many prompts, the first ones; 0 for all.", 0)

    def prompts(self) -> list[dict[str, Any]]:
        """Read the file, downloading it from $LM_STEER_RAW_URL or GitHub if needed."""
        path, digest = FILES[self.name]
        base = os.environ.get("LM_STEER_RAW_URL", "https://raw.githubusercontent.com").rstrip("/")
        file = fetched(Path(path).name, digest, lambda: f"{base}/{ORIGINAL}/{path}")
        return first_lines(read_lines(file), self.count, str(file))
