"""A steer on a model: one permanent hook on the head, whose values are set for as long as a `with` lasts.

    with steer.attach(model).at(detox=5, corpus=1):
        model.generate(**inputs)             # outside the block every value is 0: the unsteered model, bit for bit
    handle = steer.attach(model)             # the same handle, while the model carries this steer
    with handle.at(detox=[5, 0, -5]):        # a value for each row of the batch
        model(**inputs)
    handle.set(detox=5)                      # until handle.reset(), for notebooks
    handle.remove()                          # or `with steer.attach(model) as handle:`, or attach another steer

The hook sits on `model.get_output_embeddings()`, so any causal LM of transformers will do, wrapped by PEFT, quantised
or spread over devices, and its `state_dict` keeps its keys. It is registered once: torch.compile does not look for
hooks that come or go, but it does see new values in the same buffer. The values are thus the model's: while a block is
open, another thread or a generator cannot open one of its own.
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
# One that its holder may take again: the end of a forgotten generator may come at any time.
_LOCK = threading.RLock()


class _Block:
    """The values of a `with`, or of a decorated function; it knows the thread and the frame that opened it."""

    def __init__(self, handle: "Handle", values: Tensor) -> None:
        self.handle, self.values = handle, values

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def decorated(*arguments: Any, **named: Any) -> Any:
            with self:
                result = function(*arguments, **named)
            if isinstance(result, Generator | Coroutine | AsyncGenerator):
                raise LMSteerError("a generator or coroutine cannot be decorated: open the `with` inside it")
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

        Not one of another thread, nor where a generator or coroutine may be suspended in either: it would act on
        whoever goes on meanwhile. The frame of one that is suspended has no caller.
        """
        inner, outer = (block.opener.f_code.co_flags & GENERATORS for block in (other, self))
        suspended = (outer and self.opener.f_back is None) or (inner and self.opener is not other.opener)
        return self.thread == other.thread and not suspended


def _opener() -> FrameType:
    """Return the frame whose `with` opens a block; functions of contextlib, and for it, act for their caller."""
    frame = sys._getframe(2)
    while frame.f_back and "contextlib" in (frame.f_globals.get("__name__"), frame.f_back.f_globals.get("__name__")):
        frame = frame.f_back
    return frame


class Handle:
    """A steer that sits on a model's head; made by `attach`. As a context manager it takes the steer off at the end."""

    # Tensors made in inference mode could not be changed outside of it, so none of the handle's are.
    @torch.inference_mode(False)
    def __init__(self, head: nn.Module, steer: "Steer") -> None:
        self.steer, self.head = steer, head
        # Weak, so that a model is freed with its last user.
        self.model: weakref.ref[nn.Module] | None = None
        self.base = torch.zeros(1, len(steer.dimensions))
        self.blocks: list[_Block] = []
        self.values = self.base.clone()
        weight = head_weight(head)
        # A weight that is quantised, or elsewhere for now, says nothing of what will reach the head.
        known = weight.is_floating_point() and not weight.is_meta
        self._place(weight if known else self.values)
        if steer.kind == "offset":
            self._hook = head.register_forward_hook(self._steer_output)
        else:
            self._hook = head.register_forward_pre_hook(self._steer_input)

    def __getstate__(self) -> dict[str, Any]:
        """A copy or pickle starts outside every block, and meets its model at the next `attach`."""
        return {**self.__dict__, "model": None, "blocks": [], "values": self.base.clone(), "placed": None}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.remove()

    @property
    def attached(self) -> bool:
        """Whether the steer still sits on the model's head, which resizing, folding or wrapping may replace."""
        model = self.model() if self.model else None
        return _handle_on(self.head) is self and (model is None or output_head(model) is self.head)

    def _steer_input(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return self.steered(inputs[0]), *inputs[1:]

    def _steer_output(self, _: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return output + self._shift(output)

    def steered(self, hidden: Tensor) -> Tensor:
        """Return h' for head inputs of shape (…, hidden), rows first; for `multiply` and `add`."""
        if self.steer.kind == "add":
            return hidden + self._shift(hidden)
        self._follow(hidden)
        values = self._rows(hidden).repeat_interleave(self.down.shape[1] // len(self.steer.dimensions), -1)
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
        weights = self.steer.weights
        self.placed = to = (like.device, like.dtype)
        self.values = self.values.to(like.device)
        if self.steer.kind == "multiply":
            # All dimensions in two products: (hidden, dimensions·rank) and back.
            self.down = weights["B"].permute(1, 0, 2).flatten(1).to(*to)
            self.up = (weights["A"].permute(0, 2, 1).flatten(0, 1) * self.steer.epsilon).to(*to)
        else:
            self.shift = (next(iter(weights.values())) * self.steer.epsilon).to(*to)

    def _rows(self, like: Tensor) -> Tensor:
        """Return the values as (rows or 1, 1, …, dimensions), repeated where generation repeats rows."""
        values = self.values.to(like.dtype)
        rows = values.shape[0]
        if rows > 1 and like.shape[0] != rows:
            if like.shape[0] % rows:
                raise LMSteerError(f"{rows} rows of steer values do not fit a batch of {like.shape[0]} rows")
            values = values.repeat_interleave(like.shape[0] // rows, 0)
        return values.view(values.shape[0], *[1] * (like.dim() - 2), values.shape[1])

    def at(self, values: Mapping[str, Value] | None = None, /, **named: Value) -> _Block:
        """Set steer values, by mapping or by name, for the length of a `with`; then those around it hold again.

        A value is a number, or a list, array or tensor with one number per row of the batch (rows that `generate`
        repeats, by `num_return_sequences` or beams, follow). Dimensions that are not named are at 0.
        Raises LMSteerError for an unknown dimension, a value that is not finite, lists of unequal length, where the
        steer no longer sits on the model's head, while another thread or a suspended generator is in a block, and for a
        generator within the block of another function.
        """
        return _Block(self, value_rows(self.steer, values, named))

    def _open(self, block: _Block) -> None:
        self._check()
        with _LOCK:
            if self.blocks and not self.blocks[-1].admits(block):
                raise LMSteerError("a thread or generator cannot open a `with` of this steer inside another's")
            self.blocks.append(block)
            self._update()

    def _close(self, block: _Block) -> None:
        with _LOCK:
            # Blocks may end in any order.
            self.blocks.remove(block)
            self._update()

    def set(self, values: Mapping[str, Value] | None = None, /, **named: Value) -> Self:
        """Set the values, as for `at`, that hold outside of blocks until `reset`; LMSteerError inside a block."""
        base = value_rows(self.steer, values, named)
        self._check()
        with _LOCK:
            if self.blocks:
                raise LMSteerError("lasting values cannot be set inside a `with` of the steer: leave it first")
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
        if model := self.model() if self.model else None:
            check_fit(self.steer, model)

    @torch.inference_mode(False)
    def _update(self) -> None:
        """Let the innermost block's values act, or outside of blocks those of `set`."""
        values = self.blocks[-1].values if self.blocks else self.base
        if values.shape == self.values.shape and not self.values.is_inference():
            self.values.copy_(values)
        else:
            # Another number of rows: a compiled model compiles once more, as for any new batch size.
            self.values = values.to(self.values.device, copy=True)

    def remove(self) -> None:
        """Take the steer off the model."""
        self._hook.remove()
        if _handle_on(self.head) is self:
            del self.head.lm_steer_handle


def attach(model: nn.Module, steer: "Steer") -> Handle:
    """Put `steer` on a causal LM and return its handle; every value starts at 0.

    A model that carries an equal steer gives its handle again; another one is taken off. Raises LMSteerError where
    the steer's width is not the model's, where it was made for a model of another type, and while another steer acts.
    """
    check_fit(steer, model)
    head = output_head(model)
    # Two threads would put two hooks on the head.
    with _LOCK:
        handle = _handle_on(head)
        if handle is None or handle.steer != steer:
            detach(model)
            handle = head.__dict__["lm_steer_handle"] = Handle(head, steer)
        handle.model = weakref.ref(model)
    return handle


def detach(model: nn.Module) -> None:
    """Take any steer off a model, also from a head that has been wrapped since; LMSteerError while one acts."""
    check_kind(nn.Module, model=model)
    handles = [handle for handle in map(_handle_on, model.modules()) if handle]
    if any(handle.blocks or handle.base.any() for handle in handles):
        raise LMSteerError(
            "the model is being steered by another steer: leave its `with`, `reset` it, or attach their sum"
        )
    for handle in handles:
        handle.remove()


def acts_by_rows(model: nn.Module) -> bool:
    """Whether a model carries a steer with a value for each row of a batch."""
    handle = _handle_on(output_head(model))
    return handle is not None and len(handle.values) > 1


def _handle_on(head: nn.Module) -> Handle | None:
    # Wrappers pass on the attributes of what they wrap, and a wrapped head is another one.
    return head.__dict__.get("lm_steer_handle")


def check_fit(steer: "Steer", model: nn.Module) -> None:
    """Raise LMSteerError unless the steer fits the model: its head's shape, and the type it was made for."""
    # Its class would import this module.
    if type(steer).__name__ != "Steer":
        raise LMSteerError(f"steer: expected a Steer, found {' '.join(repr(steer).split()):.80}")
    vocabulary, hidden = head_weight(output_head(model)).shape
    width, what = (vocabulary, "vocabulary") if steer.kind == "offset" else (hidden, "hidden size")
    advice = "train one for this model, or transfer it"
    origin = steer.about.get("model")
    made_for = f" (made for {origin})" if origin else ""
    if steer.width != width:
        raise LMSteerError(f"the steer has width {steer.width}{made_for}, the model's {what} is {width}: {advice}")
    made, found = steer.about.get("model_type"), getattr(getattr(model, "config", None), "model_type", None)
    if made and found and made != found:
        raise LMSteerError(f"the steer was made for a model of type {made}{made_for}, not {found}: {advice}")
