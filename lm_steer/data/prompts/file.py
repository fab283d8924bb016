"""Your own prompt file.

lm-steer prompts --source file --path mine.jsonl -o results/prompts/mine.jsonl
"""

from typing import Any

from lm_steer.data.prompt_files import first_lines, read_lines
from lm_steer.data.sources import Prompts
from lm_steer.util.blocks import Text, key
from lm_steer.util.options import Count


class FilePrompts(Prompts):
    """JSON lines in the field's form."""

    reads = ("path",)

    path: Text = key("The path of the file.")
    count: Count = key("How many prompts, the first ones; 0 for all.", 0)

    def prompts(self) -> list[dict[str, Any]]:
        """Read the file."""
        return first_lines(read_lines(self.path), self.count, self.path)
