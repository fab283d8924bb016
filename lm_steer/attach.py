"""A steer on a model: one permanent hook on the head, whose values are set for as long as a `with` lasts.

    handle = attach(model, steer)
    with handle.at(detox=5, corpus=1):
        model.generate(**inputs)             # outside the block every value is 0: the unsteered model, bit for bit
    with handle.at(detox=[5, 0, -5]):        # a value for each row of the batch
        model(**inputs)

The hook sits on `model.get_output_embeddings()`, so any causal LM of transformers will do and its `state_dict`
keeps its keys. It is registered once: torch.compile does not look for hooks that come or go, but it does see new
values in the same buffer.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lm_steer.errors import LMSteerError
from lm_steer.steer import Steer

Value = float | Sequence[float]


class Handle:
    """A steer that sits on a model's head; made by `attach`."""

    # Tensors made in inference mode could not be changed outside of it, so none of the handle's are.
    @torch.inference_mode(False)
    def __init__(self, head: nn.Module, steer: Steer) -> None:
        self.steer, self.head = steer, head
        weight = head.weight
        like = {"device": weight.device, "dtype": weight.dtype}
        self.values = torch.zeros(1, len(steer.dimensions), device=weight.device)
        if steer.kind == "multiply":
            # All dimensions in two products: (hidden, dimensions·rank) and back.
            self.down = steer.weights["B"].permute(1, 0, 2).flatten(1).to(**like)
            self.up = (steer.weights["A"].permute(0, 2, 1).flatten(0, 1) * steer.epsilon).to(**like)
        else:
            shift = next(iter(steer.weights.values()))
            self.shift = (shift * steer.epsilon).to(**like)
        if steer.kind == "offset":
            self._hook = head.register_forward_hook(lambda _, inputs, output: output + self._shift(output))
        else:
            self._hook = head.register_forward_pre_hook(lambda _, inputs: (self.steered(inputs[0]), *inputs[1:]))

    def steered(self, hidden: Tensor) -> Tensor:
        """Return h' for head inputs of shape (…, hidden), rows first; for `multiply` and `add`."""
        if self.steer.kind == "add":
            return hidden + self._shift(hidden)
        values = self._rows(hidden).repeat_interleave(self.steer.rank, -1)
        return hidden + (hidden @ self.down * values) @ self.up

    def _shift(self, like: Tensor) -> Tensor:
        return self._rows(like) @ self.shift

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

        A value is a number, or a list with one number a row of the batch (rows that `generate` repeats, by
        `num_return_sequences` or beams, follow). Dimensions that are not named are at 0.
        Raises LMSteerError for an unknown dimension, a value that is not finite, lists of unequal length.
        """
        before = self.values.clone()
        try:
            self._set(self._tensor({**(values or {}), **named}))
            yield self
        finally:
            self._set(before)

    def _tensor(self, values: Mapping[str, Value]) -> Tensor:
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
        if getattr(self.head, "lm_steer_handle", None) is self:
            del self.head.lm_steer_handle


def attach(model: nn.Module, steer: Steer) -> Handle:
    """Put `steer` on a causal LM; every value starts at 0.

    Raises LMSteerError where the steer's width is not the model's, or a steer is on the model already.
    """
    head = output_head(model)
    vocabulary, hidden = head.weight.shape
    check_width(steer, hidden, vocabulary)
    if hasattr(head, "lm_steer_handle"):
        raise LMSteerError("the model carries a steer already: remove() its handle first, or attach their sum")
    head.lm_steer_handle = Handle(head, steer)
    return head.lm_steer_handle


def output_head(model: nn.Module) -> nn.Module:
    """Return the module that turns hidden states into logits; LMSteerError where there is none."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if head is None or getattr(head, "weight", None) is None:
        raise LMSteerError(f"{type(model).__name__} has no output embeddings: a steer needs a causal LM")
    return head


def check_width(steer: Steer, hidden: int, vocabulary: int) -> None:
    """Raise LMSteerError unless the steer fits a head of this shape."""
    expected, what = (vocabulary, "vocabulary") if steer.kind == "offset" else (hidden, "hidden size")
    if steer.width != expected:
        origin = steer.about.get("model")
        raise LMSteerError(
            f"the steer is of width {steer.width}"
            + (f" (made for {origin})" if origin else "")
            + f", the model's {what} is {expected}: train one for this model, or transfer it"
        )
