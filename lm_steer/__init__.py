"""LM-Steer: steer a frozen language model by a small linear map on its output word embeddings.

    from lm_steer import Steer
    steer = Steer.from_pretrained("results/steers/smollm2/sentiment/seed0")       # or owner/name on the hub
    with steer.attach(model).at(sentiment=5):
        model.generate(**inputs)

`Steer` is imported when it is first used, so that `import lm_steer` alone does not import torch.
"""

from typing import TYPE_CHECKING, Any

from lm_steer.util.errors import LMSteerError

if TYPE_CHECKING:
    from lm_steer.core.steer import Steer

__version__ = "0.1.0"
__all__ = ["LMSteerError", "Steer"]


def __getattr__(name: str) -> Any:
    """Import `Steer` on first use."""
    if name == "Steer":
        from lm_steer.core.steer import Steer

        return Steer
    raise AttributeError(f"module 'lm_steer' has no attribute '{name}'")
