"""LM-Steer: steer a frozen language model by a small linear map on its output word embeddings.

    import lm_steer
    steer = lm_steer.train(model, tokenizer, texts, labels, rank=64)       # or Steer.from_pretrained("owner/name")
    with steer.attach(model).at(style=5):
        model.generate(**inputs)

Names are imported when they are first used, so that `import lm_steer` alone does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lm_steer.util.errors import LMSteerError

if TYPE_CHECKING:
    from lm_steer.analyse.calibrate import calibrate as calibrate
    from lm_steer.analyse.directions import directions as directions
    from lm_steer.analyse.evidence import evidence as evidence
    from lm_steer.analyse.transfer import transfer as transfer
    from lm_steer.core.attach import attach as attach
    from lm_steer.core.attach import detach as detach
    from lm_steer.core.fold import fold as fold
    from lm_steer.core.steer import Steer as Steer
    from lm_steer.core.steer import compose as compose
    from lm_steer.generation.generate import generate as generate
    from lm_steer.generation.nucleus import Sampling as Sampling
    from lm_steer.interop.logits import logits_map as logits_map
    from lm_steer.model.load import load_model as load_model
    from lm_steer.model.obtain import folder_of as folder_of
    from lm_steer.report.card import push as push
    from lm_steer.tables.evaluate import evaluate as evaluate
    from lm_steer.training.learn import Recipe as Recipe
    from lm_steer.training.train import train as train

__version__ = "0.1.0"
_PLACES = {
    "Recipe": "training.learn",
    "Sampling": "generation.nucleus",
    "Steer": "core.steer",
    "attach": "core.attach",
    "calibrate": "analyse.calibrate",
    "compose": "core.steer",
    "detach": "core.attach",
    "directions": "analyse.directions",
    "evaluate": "tables.evaluate",
    "evidence": "analyse.evidence",
    "fold": "core.fold",
    "folder_of": "model.obtain",
    "generate": "generation.generate",
    "load_model": "model.load",
    "logits_map": "interop.logits",
    "push": "report.card",
    "train": "training.train",
    "transfer": "analyse.transfer",
}

__all__ = ["LMSteerError", *_PLACES]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _PLACES:
        raise AttributeError(f"module 'lm_steer' has no attribute '{name}'")
    return getattr(import_module(f"lm_steer.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
