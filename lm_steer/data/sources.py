"""What sources of texts and of prompts have in common: text_sources.py, prompt_sources.py."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

from lm_steer.util.errors import LMSteerError
from lm_steer.util.kinds import Kinds
from lm_steer.util.words import quoted


@dataclass(frozen=True)
class Source:
    """What is known of a source before it is read; subclasses are frozen dataclasses, whose fields are its keys.

    packages        what of the package registry it reads (fetch/packages.py)
    """

    packages: ClassVar[tuple[str, ...]] = ()

    def files(self) -> list[str]:
        """Return the user's own files that it reads: an edit to one makes the dataset or the prompts again."""
        return [str(getattr(self, one.name)) for one in fields(self) if one.metadata["reads"]]

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with its keys, as `.key: sentence` or `: sentence`."""
        yield from ()


Of = TypeVar("Of", bound=Source)


def checked(kinds: Kinds[Of], name: str, keys: Mapping[str, Any]) -> Of:
    """Return a source with its keys; LMSteerError where a required one is missing, or one is wrong."""
    given = {key: value for key, value in keys.items() if value != ""}
    source, place = kinds.make(name, given), f"the {kinds.what} '{name}'"
    lacking = [one.name for one in fields(source) if one.metadata["required"] and one.name not in given]
    if lacking:
        raise LMSteerError(f"{place} needs the key{'s' * (len(lacking) > 1)} {quoted(lacking)}")
    for problem in source.problems():
        raise LMSteerError(f"{place}{problem}")
    return source
