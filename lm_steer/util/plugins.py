"""Parts of other packages and modules: named as `module:Name`, or found by the entry points of a group."""

import importlib
import os
import sys
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from lm_steer.util.errors import LMSteerError


@cache
def load(reference: str) -> Any:
    """Return what `module:Name` names; a module may lie in the folder of the study.

    Raises LMSteerError where it is not of that form, or with the reason where it cannot be imported.
    """
    module, _, name = reference.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise LMSteerError(f"'{reference}' does not name a class: expected module:Class")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return getattr(importlib.import_module(module), name)
    except LMSteerError:
        raise
    except Exception as error:  # a module of a user's own may fail in any way
        # Other errors may say nothing by themselves: that of `assert`, or a key.
        reason = f"{error}" if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        raise LMSteerError(f"'{reference}' cannot be imported: {reason}") from error


@cache
def load_group(group: str) -> dict[str, Any]:
    """Return what the entry points of a group name, by their names."""
    return {point.name: load(point.value) for point in entry_points(group=group)}
