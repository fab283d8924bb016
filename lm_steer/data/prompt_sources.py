"""Sources of prompts: a class each, whose fields are the keys of its block in a study.

    rows = prompt_lines("paper", name="positive")                 # [{"prompt": {"text": …}, …}, …]

A source is a module of prompts/, named after it; one of your own is named as `module:Class`, or offered by a package as
an entry point in the group `lm_steer.prompts`.
"""

from abc import abstractmethod
from typing import Any

from lm_steer.data import prompts
from lm_steer.data.sources import Source, checked
from lm_steer.util.blocks import key
from lm_steer.util.kinds import Kinds
from lm_steer.util.options import Choice

__all__ = ["PROMPTS", "Prompts", "key", "prompt_lines"]


class Prompts(Source):
    """A source of prompts."""

    chat: Choice = key("Whether they are a user's messages, which the model answers by its chat template.", False)
    toxic: Choice = key("Whether texts made from these prompts are folded behind a warning on the page.", False)
    source: str = ""

    @abstractmethod
    def prompts(self) -> list[dict[str, Any]]:
        """Return lines in the field's form (prompt_files.py)."""


PROMPTS = Kinds("source of prompts", "source", Prompts, prompts, "lm_steer.prompts")  # type: ignore[type-abstract]


def prompt_lines(source: str, **keys: Any) -> list[dict[str, Any]]:
    """Return the prompts of a source in the field's form; LMSteerError where it has too few."""
    return checked(PROMPTS, source, keys).prompts()
