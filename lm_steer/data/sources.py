"""What sources of texts and of prompts have in common: text_sources.py, prompt_sources.py."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from lm_steer.util.errors import LMSteerError
from lm_steer.util.kinds import Kinds, OfKind


class Source(OfKind):
    """What is known of a source before it is read.

    reads       those of its keys that are the path of a file
    """

    reads: ClassVar[tuple[str, ...]] = ()

    def files(self) -> list[str]:
        """Return the user's own files that it reads: an edit to one makes the dataset or the prompts again."""
        return [getattr(self, name) for name in self.reads]


Of = TypeVar("Of", bound=Source)


def checked(kinds: Kinds[Of], name: str, keys: Mapping[str, Any]) -> Of:
    """Return a source with its keys; LMSteerError where a required one is missing, or one is wrong."""
    source = kinds.make(name, keys)
    for mistake in source.mistakes():
        raise LMSteerError(f"the {kinds.what} '{name}'{mistake}")
    return source
