"""Kinds of one thing, a class each, whose fields are the keys of its block in a study: sources, scorers.

    SCORERS = Kinds("kind of scorer", Kind, kinds, "lm_steer.scorers")
    SCORERS.named("classifier")                   # the class of kinds/classifier.py
    SCORERS.named("formality:Formality")          # a class of your own, in a module that Python can import
    SCORERS.make("perspective", {"mode": "replay"})

A package offers a kind by an entry point in the group.
"""

import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import Rule
from lm_steer.util.plugins import load, load_group
from lm_steer.util.words import quoted

Base = TypeVar("Base")


def key(
    description: str,
    default: Any = "",
    required: bool = False,
    names: str = "",
    obtains: bool = False,
    reads: bool = False,
) -> Any:
    """Define a key of a kind.

    names       the section of the study whose blocks it names: `models` or `datasets`
    obtains     whether it only says where the judge or model is from, which is obtained before and given as a folder
    reads       whether it is the path of a file, an input of the rule
    """
    about = {"description": description, "required": required, "names": names, "obtains": obtains, "reads": reads}
    return field(default=default, metadata=about)


def types_of(kind: type) -> dict[str, Any]:
    """Return the type of each key of a kind, with its bounds."""
    hints = get_type_hints(kind, include_extras=True)
    return {one.name: hints[one.name] for one in fields(kind)}


@dataclass(frozen=True)
class Kinds(Generic[Base]):
    """The kinds of one thing.

    what        what one is called in messages
    base        the class that all of them derive from, frozen dataclasses like itself
    package     its modules define one kind each, named after it
    group       the entry points by which other packages offer theirs
    """

    what: str
    base: type[Base]
    package: ModuleType
    group: str

    @cached_property
    def known(self) -> dict[str, type[Base]]:
        """Return the kinds that have a name: those of the package, then those of entry points."""
        return {**dict(self._in_package()), **load_group(self.group)}

    def _in_package(self) -> Iterator[tuple[str, type[Base]]]:
        for info in pkgutil.iter_modules(self.package.__path__):
            module = import_module(f"{self.package.__name__}.{info.name}")
            for kind in vars(module).values():
                if isinstance(kind, type) and issubclass(kind, self.base) and kind.__module__ == module.__name__:
                    yield info.name.replace("_", "-"), kind

    def named(self, name: str) -> type[Base]:
        """Return a kind by its name, or by the `module:Class` that defines it."""
        kind = load(name) if ":" in name else self.known.get(name)
        if kind is None:
            raise LMSteerError(f"unknown {self.what} '{name}': choose {', '.join(self.known)}, or module:Class")
        if not (isinstance(kind, type) and issubclass(kind, self.base) and kind is not self.base):
            base = f"{self.base.__module__}.{self.base.__name__}"
            raise LMSteerError(f"'{name}' is not a {self.what}: expected a subclass of {base}")
        if missing := getattr(kind, "__abstractmethods__", ()):
            raise LMSteerError(f"the {self.what} '{name}' has no method {quoted(sorted(missing))}: define it")
        return kind

    def make(self, name: str, keys: Mapping[str, Any]) -> Base:
        """Return a kind with the keys of a block, or with those of a command, which are text."""
        kind = self.named(name)
        types = types_of(kind)
        for unknown in keys.keys() - types.keys():
            has = f"it has {', '.join(types)}" if types else "it has none"
            raise LMSteerError(f"the {self.what} '{name}' has no key '{unknown}': {has}")
        return kind(**{one: _read(one, value, types[one]) for one, value in keys.items()})


def _read(name: str, value: Any, kind: Any) -> Any:
    """Return the value of a key, which may be written as text; LMSteerError where its type does not allow it."""
    if get_origin(kind) is list:
        return [_read(name, item, *get_args(kind)) for item in (value if isinstance(value, list) else [value])]
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    if choices and value not in choices:
        raise LMSteerError(f"{name}: '{value}' is unknown; choose {', '.join(filter(None, choices))}")
    if kind is str and not isinstance(value, str):
        raise LMSteerError(f"{name}: expected one value, found {value!r:.80}")
    try:
        for rule in getattr(kind, "__metadata__", ()):
            value = rule.read(value) if isinstance(rule, Rule) else value
    except ValueError as error:
        raise LMSteerError(f"{name}: {error}") from None
    return value
