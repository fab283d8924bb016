"""Two steers at once: the two ways to add them are one (paper, section 4.2).

exactness({"detox": one, "sentiment": other}, {"detox": {"detox": 5}, "sentiment": {"sentiment": 5}})    # 1e-7
"""

from collections.abc import Mapping
from pathlib import Path

import torch

from lm_steer.core.steer import Steer, compose
from lm_steer.util.errors import LMSteerError


def exactness(steers: Mapping[str, Steer | Path], values: Mapping[str, Mapping[str, float]]) -> float:
    """Return the largest difference between the composed steer's map and the sum of the maps, over the largest entry.

    steers      or the folders that they are in

    A composed steer keeps every dimension beside the others; the sum is of the matrices ε Σ v A Bᵀ. Only rounding is
    between them. Raises LMSteerError for steers of another kind than multiply, or of different widths.
    """
    loaded = {name: Steer.from_pretrained(each) if isinstance(each, Path) else each for name, each in steers.items()}
    if any(steer.kind != "multiply" for steer in loaded.values()):
        raise LMSteerError("only steers of kind multiply have matrices that add up")
    whole = compose(loaded)
    together = {f"{name}.{one}": value for name, given in values.items() for one, value in given.items()}
    composed = whole.epsilon * whole.matrix(together)
    summed = torch.stack([steer.epsilon * steer.matrix(values[name]) for name, steer in loaded.items()]).sum(0)
    largest = summed.abs().max().item()
    return ((composed - summed).abs().max().item() / largest) if largest else 0.0
