"""Load objects of other packages and modules by `module:Name`, or by the entry points of a group."""

import importlib
import os
import sys
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from lm_steer.util.errors import LMSteerError


@cache
def load(reference: str) -> Any:
    """Return what `module:Name` names; the module may be in the working directory.

    Raises LMSteerError if the reference has another form or cannot be imported.
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
    except (Exception, SystemExit) as error:  # a user's module may fail in any way
        # The messages of other errors, such as a KeyError's, may say nothing without their type.
        reason = f"{error}" if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: {error}"
        raise LMSteerError(f"'{reference}' cannot be imported: {reason}") from error


@cache
def load_group(group: str) -> dict[str, Any]:
    """Return what the entry points of a group refer to, by their names."""
    return {point.name: load(point.value) for point in entry_points(group=group)}
