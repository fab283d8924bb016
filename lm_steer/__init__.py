"""LM-Steer: steer a frozen language model by a small linear map on its output word embeddings.

    from lm_steer import Steer, attach
    handle = attach(model, Steer.from_pretrained("results/steers/smollm2/sentiment/seed0"))
    with handle.at(sentiment=5, corpus=1):
        model.generate(**inputs)

The names below are imported when they are first used, so that `import lm_steer` does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lm_steer.attach import attach
    from lm_steer.errors import LMSteerError
    from lm_steer.fold import fold
    from lm_steer.steer import Steer

__version__ = "0.1.0"
__all__ = ["LMSteerError", "Steer", "attach", "fold"]

_HOMES = {"Steer": "steer", "attach": "attach", "fold": "fold", "LMSteerError": "errors"}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name in _HOMES:
        # A submodule that shares its function's name would otherwise hide the function.
        value = getattr(import_module(f"lm_steer.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'lm_steer' has no attribute '{name}'")
