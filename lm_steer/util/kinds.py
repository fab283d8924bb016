"""Kinds of sources and scorers: one class per kind, whose fields are the keys of its block in a study.

    SCORERS = Kinds("kind of scorer", "kind", Kind, kinds, "lm_steer.scorers")
    SCORERS.named("classifier")                   # the class of kinds/classifier.py
    SCORERS.named("formality:Formality")          # your own class, in a module that Python can import
    SCORERS.make("perspective", {"mode": "replay"})

Other packages add kinds by entry points in the group.
"""

import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_origin

from pydantic import ValidationError, create_model

from lm_steer.util.blocks import Block
from lm_steer.util.errors import LMSteerError
from lm_steer.util.plugins import load, load_group
from lm_steer.util.sentences import sentences
from lm_steer.util.words import quoted


class OfKind(Block):
    """A block with a key that names its kind, on which its other keys depend.

    packages        the packages of the registry that it reads (fetch/packages.py)
    """

    packages: ClassVar[tuple[str, ...]] = ()

    def mistakes(self) -> Iterator[str]:
        """Yield what is wrong with its keys, as `.key: sentence` or `: sentence`."""
        yield from ()

    def problems(self, study: Any) -> Iterator[str]:
        """Yield what is wrong with its keys."""
        yield from self.mistakes()


Base = TypeVar("Base", bound=OfKind)


@dataclass(frozen=True)
class Kinds(Generic[Base]):
    """All kinds of sources, or of scorers.

    what        what one is called in messages
    decides     the key that names the kind of a block
    base        the base class of all kinds
    package     the package whose modules define one kind each and give it their name
    group       the group of entry points by which other packages add kinds
    """

    what: str
    decides: str
    base: type[Base]
    package: ModuleType
    group: str

    @cached_property
    def known(self) -> dict[str, type[Base]]:
        """The kinds by name: those of the package, then those of entry points."""
        return {**dict(self._in_package()), **load_group(self.group)}

    def _in_package(self) -> Iterator[tuple[str, type[Base]]]:
        for info in pkgutil.iter_modules(self.package.__path__):
            module = import_module(f"{self.package.__name__}.{info.name}")
            for kind in vars(module).values():
                if isinstance(kind, type) and issubclass(kind, self.base) and kind.__module__ == module.__name__:
                    yield info.name.replace("_", "-"), kind

    def named(self, name: str) -> type[Base]:
        """Return a kind by its name or as `module:Class`."""
        kind = load(name) if ":" in name else self.known.get(name)
        if kind is None:
            raise LMSteerError(f"unknown {self.what} '{name}': choose {', '.join(self.known)}, or module:Class")
        if not (isinstance(kind, type) and issubclass(kind, self.base) and kind is not self.base):
            base = f"{self.base.__module__}.{self.base.__name__}"
            raise LMSteerError(f"'{name}' is not a {self.what}: expected a subclass of {base}")
        if missing := getattr(kind, "__abstractmethods__", ()):
            raise LMSteerError(f"the {self.what} '{name}' has no method {quoted(sorted(missing))}: define it")
        return kind

    def own_keys(self, kind: type[OfKind]) -> list[str]:
        """Return the keys that a kind adds to those of the base class."""
        return [key for key in kind.model_fields if key not in self.base.model_fields]

    def block(self, name: str) -> type[Base]:
        """Return a kind as the type of a study's block, with the key that names it."""
        kind = self.named(name)
        tag: dict[str, Any] = {self.decides: (Literal[name], ...)}  # type: ignore[valid-type]
        return create_model(kind.__name__, __base__=kind, __doc__=kind.__doc__, **tag)

    def make(self, name: str, keys: Mapping[str, Any]) -> Base:
        """Return a kind with these keys, checked; those of a command are text."""
        kind, place = self.named(name), f"the {self.what} '{name}'"
        known, values = self.own_keys(kind), {}
        for key, value in keys.items():
            if key not in known:
                raise LMSteerError(f"{place} has no key '{key}': it has {', '.join(known) or 'none'}")
            one_of_list = get_origin(kind.model_fields[key].annotation) is list and isinstance(value, str)
            values[key] = [value] if one_of_list else value
        try:
            return kind(**values)
        except ValidationError as error:
            raise LMSteerError(sentences(error, kind, place)[0]) from None
