"""RealToxicityPrompts: 99,442 sentences of the web, cut in two, with Perspective's scores of both halves.

lm-steer prompts --source real-toxicity-prompts --count 10000 -o results/prompts/rtp.jsonl
"""

from typing import Any

from lm_steer.data.prompt_files import first_lines, read_lines
from lm_steer.data.sources import Prompts, key
from lm_steer.fetch.hub import hub_file
from lm_steer.util.options import Count

REPO = "allenai/real-toxicity-prompts"


class RealToxicityPrompts(Prompts):
    """RealToxicityPrompts from the hub, with Perspective's scores."""

    revision: str = key("A commit of allenai/real-toxicity-prompts; by default the latest.", "")
    count: Count = key("How many prompts, the first ones; 0 for all.", 0)

    def prompts(self) -> list[dict[str, Any]]:
        """Read the hub's file."""
        by_hand = "or download it and name it by `source: file` and `path`"
        path = hub_file(REPO, "prompts.jsonl", self.revision or "main", by_hand)
        return first_lines(read_lines(path), self.count, str(path))
