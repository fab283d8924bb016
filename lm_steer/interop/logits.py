"""A steer as a map of the logits, for engines with logits processors: the model itself stays unchanged.

The head is linear and its weight W (vocabulary, hidden), less the mean C = W - 1 mᵀ of its rows, has full column rank,
so the logits determine the hidden state, h = (CᵀC)⁻¹Cᵀ(z - b), and what a steer adds is a low-rank map of the logits:

    z' = z + ε Σ_k v_k (W A_k) (C (CᵀC)⁻¹ B_k)ᵀ (z - b)

    steering = logits_map(steer, model)                                # or the folder of a model that is not loaded
    model.generate(**inputs, logits_processor=[steering.processor(sentiment=5, corpus=1)])
    llama(prompt, logits_processor=[steering.numpy_processor(sentiment=5)])              # as llama-cpp-python has it

The logits must be the model's own, all of the vocabulary, before temperature, penalties and masks. Log-probabilities
work too, because a constant changes nothing (C has column sums of 0).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LogitsProcessor

from lm_steer.core.attach import check_fit
from lm_steer.core.fold import check_linear
from lm_steer.core.steer import Steer
from lm_steer.core.values import Value, value_rows
from lm_steer.interop.stored_head import stored_head
from lm_steer.model.head import Head, head_of, output_head
from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import Rule, check

A_SHARE = Rule(float, "a number above 0, at most 1", {"gt": 0, "le": 1})
# Of Σσ² of what a dimension changes in the logits: the rest is a thousandth of the effect in norm.
SHARE = 1 - 1e-6
# The largest numerical error, as a share of the effect.
LARGEST_ERROR = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
# Rows of the head that are converted to float64 at once.
CHUNK = 16_384


@dataclass(frozen=True)
class LogitsMap:
    """What a steer adds to logits z, (rows, vocabulary), at values v: Σ_k v_k (up_k down_kᵀ (z - b) + shift_k).

    up, down    (vocabulary, columns): the maps of all dimensions side by side
    dimension   (columns,): which dimension a column belongs to
    centre      (columns,): downᵀ b
    shift       (dimensions, vocabulary) of a steer of kind `add` or `offset`, else None
    error       of the map in its dtype, on random hidden states, as a share of what the steer changes
    """

    steer: Steer
    up: Tensor
    down: Tensor
    dimension: Tensor
    centre: Tensor
    shift: Tensor | None = None
    error: float = 0.0

    def added(self, logits: Tensor, values: Tensor) -> Tensor:
        """Return in float32 what steer values (rows or 1, dimensions) add to logits (rows, vocabulary)."""
        if logits.shape[-1] != len(self.up):
            raise LMSteerError(
                f"the logits have {logits.shape[-1]} tokens, the steer's map has {len(self.up)}: "
                "it was made for another model"
            )
        values = values.to(self.up.device)
        if self.shift is not None:
            return values @ self.shift.float()
        inner = (logits.to(self.down.dtype) @ self.down).float() - self.centre
        return ((inner * values[:, self.dimension]).to(self.up.dtype) @ self.up.T).float()

    def to(self, device: torch.device | str) -> "LogitsMap":
        """Return the map on another device."""
        tensors: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **tensors)

    def processor(self, values: Mapping[str, Value] | None = None, /, **named: Value) -> LogitsProcessor:
        """Return a transformers logits processor; a list of values has one per prompt."""
        return _Processor(self, value_rows(self.steer, values, named))

    def numpy_processor(self, **values: float) -> Callable[[Sequence[int], np.ndarray], np.ndarray]:
        """Return a function of (ids, logits of one position), the form of llama-cpp-python's logits processors."""
        vector = value_rows(self.steer, values, {})
        if len(vector) > 1:
            raise LMSteerError("this processor steers one text: give one value per dimension")

        def steered(_: Sequence[int], logits: np.ndarray) -> np.ndarray:
            plain = torch.tensor(logits, dtype=torch.float32)
            return (plain + self.added(plain[None], vector)[0].cpu()).numpy().astype(logits.dtype)

        return steered


class _Processor(LogitsProcessor):
    def __init__(self, steering: LogitsMap, values: Tensor) -> None:
        self.steering, self.values = steering, values

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Steer the logits, (rows, vocabulary); the rows of a prompt are consecutive."""
        if self.steering.up.device != scores.device:
            self.steering, self.values = self.steering.to(scores.device), self.values.to(scores.device)
        rows, each = divmod(len(scores), len(self.values))
        if each:
            raise LMSteerError(f"{len(self.values)} steer values for {len(scores)} rows: give one per prompt")
        values = self.values if len(self.values) == 1 else self.values.repeat_interleave(rows, dim=0)
        return scores + self.steering.added(scores, values).to(scores.dtype)


def logits_map(
    steer: Steer, model: nn.Module | str | Path, *, share: float = SHARE, dtype: torch.dtype = torch.float32
) -> LogitsMap:
    """Turn a steer into a map of a model's logits; `model` is a loaded model, or the folder of one.

    Each dimension's rank is cut, by its singular values, to the `share` of Σσ² of what it changes in the logits
    (isotropic hidden states). `dtype` is that of the engine's logits and of the matrices. Raises LMSteerError if
    the head is not linear or its logits are capped, if the steer is not the model's, and if rounding to `dtype` costs
    more than `LARGEST_ERROR` of the effect.
    """
    check("share", [share], [A_SHARE])
    if dtype not in LARGEST_ERROR:
        raise LMSteerError(f"logits are of dtype {', '.join(str(one)[6:] for one in LARGEST_ERROR)}, not {dtype!r}")
    if isinstance(model, str | Path):
        head = stored_head(model, steer)
    else:
        check_fit(steer, model)
        check_linear(output_head(model), "is a map of the logits")
        head = head_of(model)  # type: ignore[arg-type]
    if head.softcap is not None:
        raise LMSteerError("the model caps its logits, which is not linear: attach the steer in Python instead")
    if steer.kind == "multiply":
        return _low_rank(steer, head, share, dtype)
    (weights,) = steer.weights.values()
    shift = steer.epsilon * head.scale * weights.to(head.weight.device)
    shift = shift if steer.kind == "offset" else _times(head.weight, shift.double().T, torch.float32).T
    empty = head.weight.new_zeros(len(head.weight), 0, dtype=dtype)
    column = torch.zeros(0, dtype=torch.long, device=empty.device)
    return LogitsMap(steer, empty, empty, column, column.float(), shift.to(dtype))


def _low_rank(steer: Steer, head: Head, share: float, dtype: torch.dtype) -> LogitsMap:
    weight = head.weight
    mean = torch.stack([part.double().sum(0) for part in weight.split(CHUNK)]).sum(0) / len(weight)
    centred = ((part.double() - mean) for part in weight.split(CHUNK))
    gram = torch.stack([part.T @ part for part in centred]).sum(0)
    spread, axes = torch.linalg.eigh(gram)
    if not spread[0] > spread[-1] * len(gram) * torch.finfo(torch.float64).eps:
        raise LMSteerError(
            "the head's columns are linearly dependent, so its logits do not determine the hidden state: "
            "attach the steer in Python instead"
        )
    root, inverse = ((axes * spread.pow(power)) @ axes.T for power in (0.5, -0.5))
    ups, downs, counts, exact = [], [], [], []
    for a, b in zip(*(steer.weights[name].double().to(weight.device) for name in "AB"), strict=True):
        # Up to a constant, σ of W A Bᵀ are those of √(CᵀC) A Bᵀ, which is small.
        left, sigma, right = torch.linalg.svd(root @ (a @ b.T) * steer.epsilon)
        sums = sigma.square().cumsum(0)
        rank = int((sums < share * sums[-1]).sum()) + 1 if sums[-1] else 0
        ups.append(inverse @ left[:, :rank] * sigma[:rank])
        downs.append(inverse @ inverse @ right[:rank].T)
        counts.append(rank)
        exact.append((ups[-1], right[:rank].T))
    up = _times(weight, torch.cat(ups, dim=1), dtype)
    down = _times(weight, torch.cat(downs, dim=1), dtype, mean)
    dimension = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).to(weight.device)
    bias = torch.zeros(len(weight), device=weight.device) if head.bias is None else head.bias.float() * head.scale
    steering = LogitsMap(steer, up, down, dimension, bias @ down.float())
    error = max(_errors(steering, head, exact, dtype), default=0.0)
    if not error <= LARGEST_ERROR[dtype]:
        raise LMSteerError(
            f"from logits in {str(dtype)[6:]} the steer is off by {error:.2g} of its effect, more than "
            f"{LARGEST_ERROR[dtype]:g}: " + ("fold it instead" if dtype == torch.float32 else "use float32, or fold it")
        )
    return replace(steering, error=error)


def _times(weight: Tensor, matrix: Tensor, dtype: torch.dtype, mean: Tensor | float = 0.0) -> Tensor:
    """Return (weight - mean) @ matrix, (vocabulary, columns), multiplied in float64 a chunk at a time."""
    return torch.cat([((part.double() - mean) @ matrix).to(dtype) for part in weight.split(CHUNK)])


def _errors(steering: LogitsMap, head: Head, exact: list[tuple[Tensor, Tensor]], dtype: torch.dtype) -> list[float]:
    """Return each dimension's error on random hidden states, as a share of what it changes."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(16, head.weight.shape[1], generator=generator).to(head.weight.device)
    logits = head.logits(hidden).to(dtype).float()
    errors: list[Any] = []
    for index, (up, right) in enumerate(exact):
        values = torch.eye(len(exact), device=logits.device)[index : index + 1]
        expected = head.scale * _times(head.weight, up @ (hidden.double() @ right).T, torch.float64).T
        if expected.any():
            errors.append((steering.added(logits, values).double() - expected).norm() / expected.norm())
    return [float(error) for error in errors]
