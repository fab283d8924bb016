"""A steer on a model: one permanent hook on the head, whose values are set for as long as a `with` lasts.

    with steer.attach(model).at(detox=5, corpus=1):
        model.generate(**inputs)             # outside the block every value is 0: the unsteered model, bit for bit
    handle = steer.attach(model)             # the same handle, while the model carries this steer
    with handle.at(detox=[5, 0, -5]):        # a value for each row of the batch
        model(**inputs)
    handle.remove()                          # or `with steer.attach(model) as handle:`, or attach another steer

The hook sits on `model.get_output_embeddings()`, so any causal LM of transformers will do, wrapped by PEFT, quantised
or spread over devices, and its `state_dict` keeps its keys. It is registered once: torch.compile does not look for
hooks that come or go, but it does see new values in the same buffer.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from lm_steer.errors import LMSteerError
from lm_steer.steer import Steer

Value = float | Sequence[float] | np.ndarray | Tensor


class Handle:
    """A steer that sits on a model's head; made by `attach`. As a context manager it takes the steer off at the end."""

    # Tensors made in inference mode could not be changed outside of it, so none of the handle's are.
    @torch.inference_mode(False)
    def __init__(self, head: nn.Module, steer: Steer) -> None:
        self.steer, self.head = steer, head
        self.values = torch.zeros(1, len(steer.dimensions))
        self.open = 0
        weight = _weight(head)
        # A weight that is quantised, or elsewhere for now, says nothing of what will reach the head.
        known = weight.is_floating_point() and not weight.is_meta
        self._place(weight if known else self.values)
        if steer.kind == "offset":
            self._hook = head.register_forward_hook(lambda _, inputs, output: output + self._shift(output))
        else:
            self._hook = head.register_forward_pre_hook(lambda _, inputs: (self.steered(inputs[0]), *inputs[1:]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.remove()

    @property
    def attached(self) -> bool:
        """Whether the steer still sits on the model."""
        return getattr(self.head, "lm_steer_handle", None) is self

    def steered(self, hidden: Tensor) -> Tensor:
        """Return h' for head inputs of shape (…, hidden), rows first; for `multiply` and `add`."""
        if self.steer.kind == "add":
            return hidden + self._shift(hidden)
        self._follow(hidden)
        values = self._rows(hidden).repeat_interleave(self.steer.rank, -1)
        return hidden + (hidden @ self.down * values) @ self.up

    def _shift(self, like: Tensor) -> Tensor:
        self._follow(like)
        return self._rows(like) @ self.shift

    def _follow(self, like: Tensor) -> None:
        """Go along with the head to another device or precision: a model may be moved or cast at any time."""
        if self.placed != (like.device, like.dtype):
            self._place(like)

    @torch.inference_mode(False)
    def _place(self, like: Tensor) -> None:
        weights, to = self.steer.weights, {"device": like.device, "dtype": like.dtype}
        self.placed = (like.device, like.dtype)
        self.values = self.values.to(like.device)
        if self.steer.kind == "multiply":
            # All dimensions in two products: (hidden, dimensions·rank) and back.
            self.down = weights["B"].permute(1, 0, 2).flatten(1).to(**to)
            self.up = (weights["A"].permute(0, 2, 1).flatten(0, 1) * self.steer.epsilon).to(**to)
        else:
            self.shift = (next(iter(weights.values())) * self.steer.epsilon).to(**to)

    def _rows(self, like: Tensor) -> Tensor:
        """Return the values as (rows or 1, 1, …, dimensions), repeated where generation repeats rows."""
        values = self.values.to(like.dtype)
        rows = values.shape[0]
        if rows > 1 and like.shape[0] != rows:
            if like.shape[0] % rows:
                raise LMSteerError(f"{rows} rows of steer values do not fit a batch of {like.shape[0]} rows")
            values = values.repeat_interleave(like.shape[0] // rows, 0)
        return values.view(values.shape[0], *[1] * (like.dim() - 2), values.shape[1])

    @contextmanager
    def at(self, values: Mapping[str, Value] | None = None, /, **named: Value) -> Iterator["Handle"]:
        """Set steer values, by mapping or by name, and restore the former ones at the end, whatever happens.

        A value is a number, or a list, array or tensor with one number a row of the batch (rows that `generate`
        repeats, by `num_return_sequences` or beams, follow). Dimensions that are not named are at 0.
        Raises LMSteerError for an unknown dimension, a value that is not finite, lists of unequal length, and where
        the steer has been taken off the model.
        """
        if not self.attached:
            raise LMSteerError("the steer was taken off the model: attach it again")
        before = self.values.clone()
        self.open += 1
        try:
            self._set(self._tensor({**(values or {}), **named}))
            yield self
        finally:
            self.open -= 1
            self._set(before)

    def _tensor(self, values: Mapping[str, Value]) -> Tensor:
        # Arrays of numpy and tensors are lists here.
        values = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in values.items()}
        lengths = {len(value) for value in values.values() if isinstance(value, Sequence)}
        if len(lengths) > 1 or 0 in lengths:
            raise LMSteerError(f"the lists of steer values have lengths {sorted(lengths)}: give one value a row")
        rows = lengths.pop() if lengths else 1
        return torch.stack(
            [
                self.steer.vector(
                    {name: value[row] if isinstance(value, Sequence) else value for name, value in values.items()}
                )
                for row in range(rows)
            ]
        )

    @torch.inference_mode(False)
    def _set(self, values: Tensor) -> None:
        if values.shape == self.values.shape:
            self.values.copy_(values)
        else:
            # Another number of rows: a compiled model compiles once more, as for any new batch size.
            self.values = values.to(self.values.device, copy=True)

    def remove(self) -> None:
        """Take the steer off the model."""
        self._hook.remove()
        if self.attached:
            del self.head.lm_steer_handle


def attach(model: nn.Module, steer: Steer) -> Handle:
    """Put `steer` on a causal LM and return its handle; every value starts at 0.

    A model that carries this very steer gives its handle again; another one is taken off. Raises LMSteerError where
    the steer's width is not the model's, where it was made for a model of another type, and inside a `with` of
    another steer.
    """
    head = output_head(model)
    check_fit(steer, model)
    present = getattr(head, "lm_steer_handle", None)
    if present is not None and present.steer is steer:
        return present
    if present is not None and present.open:
        raise LMSteerError("the model is being steered by another steer: leave its `with`, or attach their sum")
    if present is not None:
        present.remove()
    head.lm_steer_handle = Handle(head, steer)
    return head.lm_steer_handle


def output_head(model: nn.Module) -> nn.Module:
    """Return the module that turns hidden states into logits; LMSteerError where there is none."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if head is None or getattr(head, "weight", None) is None:
        raise LMSteerError(f"{type(model).__name__} has no output embeddings: a steer needs a causal LM")
    return head


def check_fit(steer: Steer, model: nn.Module) -> None:
    """Raise LMSteerError unless the steer fits the model: its head's shape, and the type it was made for."""
    vocabulary, hidden = _weight(output_head(model)).shape
    width, what = (vocabulary, "vocabulary") if steer.kind == "offset" else (hidden, "hidden size")
    advice = "train one for this model, or transfer it"
    origin = steer.about.get("model")
    made_for = f" (made for {origin})" if origin else ""
    if steer.width != width:
        raise LMSteerError(f"the steer is of width {steer.width}{made_for}, the model's {what} is {width}: {advice}")
    made, found = steer.about.get("model_type"), getattr(getattr(model, "config", None), "model_type", None)
    if made and found and made != found:
        raise LMSteerError(f"the steer was made for a model of type {made}{made_for}, this one is a {found}: {advice}")


def _weight(head: nn.Module) -> Tensor:
    """Return the head's weight, (vocabulary, hidden); torch's dynamically quantised layers keep it behind a call."""
    return head.weight() if callable(head.weight) else head.weight
