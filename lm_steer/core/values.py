"""Read steer values as people write them: text, a mapping, keyword arguments, one number per row of a batch.

parse_values("detox=5 corpus=1")                                   # {"detox": 5.0, "corpus": 1.0}
value_rows(steer, {"detox": [5, 0, -5]}, {"corpus": 1})            # a tensor (3, 2)
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import A_STEER_VALUE
from lm_steer.util.words import pairs_of

if TYPE_CHECKING:
    from lm_steer.core.steer import Steer

Value = float | Sequence[float] | np.ndarray | Tensor


def parse_values(text: str, option: str = "at") -> dict[str, float]:
    """Read the steer values of a command-line option, such as `detox=5 corpus=1`."""
    values: dict[str, float] = {}
    for name, value in pairs_of(option, text.split(), "detox=5 corpus=1").items():
        try:
            values[name] = A_STEER_VALUE.read(value)
        except ValueError as error:
            raise LMSteerError(f"{option}: {name}: {error}; values are written as `detox=5 corpus=1`") from None
    return values


def value_rows(steer: "Steer", values: Mapping[str, Value] | None, named: Mapping[str, Value]) -> Tensor:
    """Return steer values, given by mapping or by name, as (rows or 1, dimensions); a list has one value per row."""
    if not isinstance(values, Mapping | None):
        raise LMSteerError(f"expected steer values by name, as at(style=5) or at({{'style': 5}}), found {values!r}")
    values = values or {}
    if repeated := values.keys() & named:
        raise LMSteerError(f"the value of dimension '{min(repeated)}' is given twice: in the mapping and by name")
    # NumPy arrays and tensors become numbers or lists.
    merged: dict[str, Any] = {
        name: value.tolist() if hasattr(value, "tolist") else value for name, value in {**values, **named}.items()
    }
    lists = {
        name: value
        for name, value in merged.items()
        if isinstance(value, Sequence) and not isinstance(value, str | bytes)
    }
    lengths = {len(value) for value in lists.values()}
    if len(lengths) > 1 or 0 in lengths:
        raise LMSteerError(f"the lists of steer values have lengths {sorted(lengths)}: give one value per row")
    rows = [{name: value[row] for name, value in lists.items()} for row in range(max(lengths, default=1))]
    return torch.stack([steer.vector({**merged, **row}) for row in rows])
