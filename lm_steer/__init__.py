"""LM-Steer: steer a frozen language model by a small linear map on its output word embeddings.

    import lm_steer
    steer = lm_steer.train(model, tokenizer, texts, labels, rank=64)       # or Steer.from_pretrained("owner/name")
    with steer.attach(model).at(style=5):
        model.generate(**inputs)

Public names are imported on first use, so that `import lm_steer` alone does not import torch. They are listed in
__init__.pyi, which both type checkers and this file read.
"""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"
_STUB = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
_PLACES = {name: place for place, name in re.findall(r"from lm_steer\.(\S+) import (\w+)", _STUB)}

__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _PLACES:
        raise AttributeError(f"module 'lm_steer' has no attribute '{name}'")
    return getattr(import_module(f"lm_steer.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
