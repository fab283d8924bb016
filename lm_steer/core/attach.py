"""Attach a steer to a model: one permanent hook on the output head, with values set by `with` blocks.

    with steer.attach(model).at(detox=5, corpus=1):
        model.generate(**inputs)             # outside the block every value is 0: the unsteered model, bit for bit
    handle = steer.attach(model)             # the same handle, while this steer is attached
    with handle.at(detox=[5, 0, -5]):        # one value per row of the batch
        model(**inputs)
    handle.set(detox=5)                      # until handle.reset(), for notebooks
    handle.remove()                          # or `with steer.attach(model) as handle:`, or attach another steer

The hook sits on `model.get_output_embeddings()`, so it works with any causal LM of transformers, including models that
are wrapped by PEFT, quantised or spread over devices, and the keys of its `state_dict` do not change. It is registered
once, because torch.compile ignores hooks that are added or removed later but sees new values in the same buffer. The
values therefore belong to the model: while a block is open, other threads and generators cannot open another.
"""

import inspect
import sys
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from functools import wraps
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from lm_steer.core.values import Value, value_rows
from lm_steer.model.head import head_weight, output_head
from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import check_kind

if TYPE_CHECKING:
    from lm_steer.core.steer import Steer

GENERATORS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
# Reentrant, because a forgotten generator may be finalised at any time, even in the thread that holds the lock.
_LOCK = threading.RLock()


class _Block:
    """The values of a `with` block or decorated function, with the thread and the frame that opened it."""

    def __init__(self, handle: "Handle", values: Tensor) -> None:
        self.handle, self.values = handle, values

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def decorated(*arguments: Any, **named: Any) -> Any:
            with self:
                result = function(*arguments, **named)
            if isinstance(result, Generator | Coroutine | AsyncGenerator):
                raise LMSteerError("generators and coroutines cannot be decorated: open the `with` inside the function")
            return result

        return decorated

    def __enter__(self) -> "Handle":
        self.thread, self.opener = threading.get_ident(), _opener()
        self.handle._open(self)
        return self.handle

    def __exit__(self, *error: object) -> None:
        self.handle._close(self)

    def admits(self, other: "_Block") -> bool:
        """Whether another block may open within this one.

        A block of another thread may not, nor may either block belong to a generator or coroutine that can be
        suspended: its values would act on the code that runs meanwhile. A suspended frame has no caller.
        """
        inner, outer = (block.opener.f_code.co_flags & GENERATORS for block in (other, self))
        suspended = (outer and self.opener.f_back is None) or (inner and self.opener is not other.opener)
        return self.thread == other.thread and not suspended


def _opener() -> FrameType:
    """Return the frame whose `with` opens a block, skipping contextlib and the functions it calls."""
    frame = sys._getframe(2)
    while frame.f_back and "contextlib" in (frame.f_globals.get("__name__"), frame.f_back.f_globals.get("__name__")):
        frame = frame.f_back
    return frame


class Handle:
    """A steer attached to a model, created by `attach`; as a context manager it removes the steer at the end."""

    # Tensors created in inference mode could not be updated outside it.
    @torch.inference_mode(False)
    def __init__(self, head: nn.Module, steer: "Steer") -> None:
        self.steer, self.head = steer, head
        # A weak reference, so that the handle does not keep the model in memory.
        self.model: weakref.ref[nn.Module] | None = None
        self.base = torch.zeros(1, len(steer.dimensions))
        self.blocks: list[_Block] = []
        self.values = self.base.clone()
        weight = head_weight(head)
        # The dtype and device of a quantised or offloaded weight are not those of the head's inputs.
        self._place(weight if weight.is_floating_point() and not weight.is_meta else self.values)
        if steer.kind == "offset":
            self._hook = head.register_forward_hook(self._steer_output)
        else:
            self._hook = head.register_forward_pre_hook(self._steer_input)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy or pickle: outside every block, and without a model until the next `attach`."""
        return {**self.__dict__, "model": None, "blocks": [], "values": self.base.clone(), "placed": None}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.remove()

    @property
    def attached(self) -> bool:
        """Whether the steer is still on the model's head, which resizing, folding or wrapping may replace."""
        model = self.model() if self.model else None
        return _handle_on(self.head) is self and (model is None or output_head(model) is self.head)

    def _steer_input(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return self.steered(inputs[0]), *inputs[1:]

    def _steer_output(self, _: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return output + self._shift(output)

    def steered(self, hidden: Tensor) -> Tensor:
        """Return h' for head inputs (rows, …, hidden), for the kinds `multiply` and `add`."""
        if self.steer.kind == "add":
            return hidden + self._shift(hidden)
        self._follow(hidden)
        values = self._rows(hidden).repeat_interleave(self.down.shape[1] // len(self.steer.dimensions), -1)
        return hidden + (hidden @ self.down * values) @ self.up

    def _shift(self, like: Tensor) -> Tensor:
        self._follow(like)
        return self._rows(like) @ self.shift

    def _follow(self, like: Tensor) -> None:
        """Move the weights to the device and dtype of the head's inputs: the model may be moved or cast at any time."""
        if self.placed != (like.device, like.dtype):
            self._place(like)

    @torch.inference_mode(False)
    def _place(self, like: Tensor) -> None:
        weights = self.steer.weights
        self.placed = to = (like.device, like.dtype)
        self.values = self.values.to(like.device)
        if self.steer.kind == "multiply":
            # Two matrix products for all dimensions: to dimensions·rank and back.
            self.down = weights["B"].permute(1, 0, 2).flatten(1).to(*to)
            self.up = (weights["A"].permute(0, 2, 1).flatten(0, 1) * self.steer.epsilon).to(*to)
        else:
            self.shift = (next(iter(weights.values())) * self.steer.epsilon).to(*to)

    def _rows(self, like: Tensor) -> Tensor:
        """Return the values as (rows or 1, 1, …, dimensions), repeated if generation repeats rows."""
        values = self.values.to(like.dtype)
        rows = values.shape[0]
        if rows > 1 and like.shape[0] != rows:
            if like.shape[0] % rows:
                raise LMSteerError(f"{rows} rows of steer values do not fit a batch of {like.shape[0]} rows")
            values = values.repeat_interleave(like.shape[0] // rows, 0)
        return values.view(values.shape[0], *[1] * (like.dim() - 2), values.shape[1])

    def at(self, values: Mapping[str, Value] | None = None, /, **named: Value) -> _Block:
        """Set steer values, by mapping or by name, within a `with` block; the previous values return afterwards.

        A value is a number, or a list, array or tensor with one number per row of the batch (rows that `generate`
        repeats, by `num_return_sequences` or beams, repeat their values). Dimensions that are not named are at 0.
        Raises LMSteerError for an unknown dimension, a value that is not finite or lists of unequal length; on entering
        the block, if the steer is no longer on the model's head, if another thread or a suspended generator is in a
        block, or if a generator is run within the block of another function.
        """
        return _Block(self, value_rows(self.steer, values, named))

    def _open(self, block: _Block) -> None:
        self._check()
        with _LOCK:
            if self.blocks and not self.blocks[-1].admits(block):
                raise LMSteerError("a thread or generator cannot open a `with` block of this steer inside another's")
            self.blocks.append(block)
            self._update()

    def _close(self, block: _Block) -> None:
        with _LOCK:
            # Blocks may close in any order.
            self.blocks.remove(block)
            self._update()

    def set(self, values: Mapping[str, Value] | None = None, /, **named: Value) -> Self:
        """Set values, as `at` takes them, that apply outside blocks until `reset`; LMSteerError inside a block."""
        base = value_rows(self.steer, values, named)
        self._check()
        with _LOCK:
            if self.blocks:
                raise LMSteerError("lasting values cannot be set inside a `with` block of the steer: leave it first")
            self.base = base
            self._update()
        return self

    def reset(self) -> Self:
        """Set every value to 0, the unsteered model."""
        return self.set()

    def _check(self) -> None:
        """Raise LMSteerError unless the steer can act on its model."""
        if not self.attached:
            raise LMSteerError(
                "the steer is no longer on the model's head, which may have been replaced: attach it again"
            )
        # A compiled model has no truth value: its `__len__` fails if the model it wraps has none.
        if (model := self.model() if self.model else None) is not None:
            check_fit(self.steer, model)

    @torch.inference_mode(False)
    def _update(self) -> None:
        """Apply the innermost block's values, or outside blocks those of `set`."""
        values = self.blocks[-1].values if self.blocks else self.base
        if values.shape == self.values.shape and not self.values.is_inference():
            self.values.copy_(values)
        else:
            # A new number of rows: a compiled model compiles again, as for any new batch size.
            self.values = values.to(self.values.device, copy=True)

    def remove(self) -> None:
        """Remove the steer from the model."""
        self._hook.remove()
        if _handle_on(self.head) is self:
            del self.head.lm_steer_handle


def attach(model: nn.Module, steer: "Steer") -> Handle:
    """Attach `steer` to a causal LM and return its handle; every value starts at 0.

    If an equal steer is already attached, return its handle; any other steer is removed. Raises LMSteerError if the
    steer's width does not match the model's, if it was made for another model type, or while another steer is active.
    """
    check_fit(steer, model)
    head = output_head(model)
    # Otherwise two threads could register two hooks on the head.
    with _LOCK:
        handle = _handle_on(head)
        if handle is None or handle.steer != steer:
            detach(model)
            handle = head.__dict__["lm_steer_handle"] = Handle(head, steer)
        handle.model = weakref.ref(model)
    return handle


def detach(model: nn.Module) -> None:
    """Remove any steer from a model, even from a head that has since been wrapped; LMSteerError while one is active."""
    check_kind(nn.Module, model=model)
    handles = [handle for handle in map(_handle_on, model.modules()) if handle]
    if any(handle.blocks or handle.base.any() for handle in handles):
        raise LMSteerError(
            "another steer is active on the model: leave its `with` block, `reset` it, or attach the sum of both"
        )
    for handle in handles:
        handle.remove()


def acts_by_rows(model: nn.Module) -> bool:
    """Whether the model's steer has one value per row of a batch."""
    handle = _handle_on(output_head(model))
    return handle is not None and len(handle.values) > 1


def _handle_on(head: nn.Module) -> Handle | None:
    # Not by getattr: wrappers forward the attributes of the head they wrap, which is another module.
    return head.__dict__.get("lm_steer_handle")


def check_fit(steer: "Steer", model: nn.Module) -> None:
    """Raise LMSteerError unless the steer fits the shape of the model's head and was made for its model type."""
    # Not by isinstance: the module of Steer imports this one.
    if type(steer).__name__ != "Steer":
        raise LMSteerError(f"steer: expected a Steer, found {' '.join(repr(steer).split()):.80}")
    vocabulary, hidden = head_weight(output_head(model)).shape
    width, what = (vocabulary, "vocabulary") if steer.kind == "offset" else (hidden, "hidden size")
    advice = "train one for this model, or transfer it"
    origin = f" (made for {steer.about['model']})" if steer.about.get("model") else ""
    if steer.width != width:
        raise LMSteerError(f"the steer has width {steer.width}{origin}, the model's {what} is {width}: {advice}")
    steer_type, model_type = steer.about.get("model_type"), getattr(getattr(model, "config", 0), "model_type", None)
    if steer_type and model_type and steer_type != model_type:
        raise LMSteerError(f"the steer was made for a model of type {steer_type}{origin}, not {model_type}: {advice}")
