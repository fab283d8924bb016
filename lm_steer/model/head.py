"""The output head of a model: the module, its inputs and its logits.

module = output_head(model)
hidden = head_inputs(model, ids, mask)                 # (rows, tokens, hidden)
logits = head_of(model).logits(hidden)
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lm_steer.util.errors import LMSteerError

# Logits that a chunked loss holds at once.
CHUNK_BYTES = 64 << 20
# A GPU multiplies several times as fast if rows start at multiples of 16 bytes, and GPT-2 has 50,257 tokens.
ALIGNED = 8


class _HeadReached(Exception):
    """Raised by the hook to leave the forward pass before the logits are computed."""


@torch.no_grad()
def head_inputs(model: PreTrainedModel, ids: Tensor, mask: Tensor, **options: Any) -> Tensor:
    """Return the head inputs, (rows, positions, hidden), for token ids and their attention mask.

    Other options are passed to the model's forward pass, such as a cache to read and fill.
    """
    caught: list[Tensor] = []

    def catch(_module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        caught.append(inputs[0])
        raise _HeadReached

    # Before any steer's hook, so that the states are those of the plain model.
    hook = output_head(model).register_forward_pre_hook(catch, prepend=True)
    try:
        model(input_ids=ids, attention_mask=mask, **{"use_cache": False, **options})
    except _HeadReached:
        return caught[0]
    finally:
        hook.remove()
    raise AssertionError("the model ran without its head")


@dataclass(frozen=True)
class Head:
    """The map from head inputs to logits, softcap(scale · (W h + b)) with softcap(z) = c·tanh(z / c)."""

    weight: Tensor
    bias: Tensor | None
    scale: float
    softcap: float | None

    @cached_property
    def padded(self) -> Tensor:
        """The weight, padded for faster multiplication (see `aligned`)."""
        return aligned(self.weight)

    def logits(self, hidden: Tensor, offset: Tensor | None = None) -> Tensor:
        """Return float32 logits (tokens, vocabulary) of head inputs (tokens, hidden)."""
        return self._cap(self._linear(hidden, offset))

    def _linear(self, hidden: Tensor, offset: Tensor | None) -> Tensor:
        logits = float32_product(hidden, self.padded, self.bias, len(self.weight))
        logits = logits if offset is None else logits + offset
        return logits if self.scale == 1 else logits * self.scale

    def _cap(self, logits: Tensor) -> Tensor:
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def back(self, gradient: Tensor) -> Tensor:
        """Return gradient @ W, (tokens, hidden), given the gradient (tokens, vocabulary) of the product W h."""
        if self.padded is self.weight:
            return gradient.to(self.weight.dtype) @ self.weight
        whole = self.padded.new_zeros(len(gradient), len(self.padded))
        whole[:, : len(self.weight)] = gradient
        return whole @ self.padded


def aligned(weight: Tensor) -> Tensor:
    """Return the weight (vocabulary, hidden) of a head, on a GPU padded with rows of zeros to a multiple of ALIGNED."""
    missing = -len(weight) % ALIGNED
    return nn.functional.pad(weight, (0, 0, 0, missing)) if weight.is_cuda and missing else weight


def float32_product(hidden: Tensor, weight: Tensor, bias: Tensor | None, size: int) -> Tensor:
    """Return the first `size` entries of W h + b in float32, for h of shape (…, hidden) and an `aligned` W.

    On a GPU the product is not rounded to half precision: bfloat16 would round GPT-2's logits by up to 0.5.
    """
    hidden = hidden.to(weight.dtype)
    if not hidden.is_cuda:
        return nn.functional.linear(hidden, weight, bias).float()
    rows = hidden.flatten(0, -2)
    half = weight.dtype != torch.float32
    whole = torch.mm(rows, weight.T, out_dtype=torch.float32) if half else rows @ weight.T
    logits = whole.unflatten(0, hidden.shape[:-1])[..., :size]
    return logits if bias is None else logits + bias


@contextmanager
def float32_logits(model: PreTrainedModel) -> Iterator[None]:
    """Make a linear head on a GPU return float32 logits whatever its dtype; hooks on it still run."""
    head: Any = output_head(model)
    if type(head) is not nn.Linear or not head.weight.is_cuda:
        yield
        return
    padded = aligned(head.weight)
    with forward_as(head, lambda hidden: float32_product(hidden, padded, head.bias, len(head.weight))):
        yield


@contextmanager
def forward_as(module: nn.Module, forward: Callable) -> Iterator[None]:
    """Replace a module's forward pass within a `with` block."""
    before = module.__dict__.get("forward")
    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        del module.__dict__["forward"]
        if before is not None:
            module.__dict__["forward"] = before


@torch.no_grad()
def head_of(model: PreTrainedModel) -> Head:
    """Return a model's output head; its scale and soft-cap are inferred from the logits of a few tokens.

    Raises LMSteerError if the architecture transforms its logits in any other way, or if they are not finite.
    """
    module = output_head(model)
    weight = head_weight(module)
    plain = Head(weight, getattr(module, "bias", None), 1.0, None)
    # Some models end the text at the padding id.
    padding = getattr(model.config.get_text_config(), "pad_token_id", None)
    ids = [index for index in range(1, 10) if index != padding][:8]
    probe = torch.tensor([ids], device=weight.device) % weight.shape[0]
    expected = model(probe, use_cache=False).logits[0].float()
    hidden = head_inputs(model, probe, torch.ones_like(probe))[0]
    if not (hidden.isfinite().all() and expected.isfinite().all()):
        raise LMSteerError(
            f"the logits of this {type(model).__name__} are not finite: its weights are damaged or too large for "
            f"{str(model.dtype).removeprefix('torch.')}"
        )
    exact = weight.dtype == torch.float32
    head, error = plain, torch.inf
    if expected.shape == (*hidden.shape[:-1], weight.shape[0]):
        head, error = _fitted(plain, hidden, expected, _numbers(model), 1e-4 if exact else 1e-2)
    if not error <= (1e-3 if exact else 5e-2) * max(1.0, expected.abs().max().item()):
        raise LMSteerError(
            f"{type(model).__name__} transforms its logits after the head in an unknown way: steers can be attached to "
            "it, but not trained on it"
        )
    return head


def _numbers(model: PreTrainedModel) -> list[float]:
    """Return the numbers in a model's config, which include its scale and soft-cap if it has any."""
    values = model.config.get_text_config().to_dict().values()
    return [float(value) for value in values if isinstance(value, int | float) and value > 0]


def _fitted(plain: Head, hidden: Tensor, expected: Tensor, numbers: list[float], near: float) -> tuple[Head, float]:
    """Return the head that reproduces the expected logits, (tokens, vocabulary), and its largest error.

    The soft-cap is one of `numbers`; so is the scale or its inverse, if the fitted one is within `near` of it.
    """
    linear, largest = plain.logits(hidden).double(), expected.abs().max().item()
    best, least = plain, torch.inf
    for softcap in (None, *sorted({number for number in numbers if number > largest})):
        uncapped = expected.double()
        if softcap is not None:
            uncapped = softcap * torch.atanh(uncapped / softcap)
        # The scale of a head of zeros is unknown.
        scale = ((uncapped * linear).sum() / linear.square().sum()).item() if linear.any() else 1.0
        nearest = min((x for number in (1.0, *numbers) for x in (number, 1.0 / number)), key=lambda x: abs(x - scale))
        scale = nearest if math.isclose(nearest, scale, rel_tol=near) else scale
        head = replace(plain, scale=scale, softcap=softcap)
        error = (head.logits(hidden) - expected).abs().max().item()
        # A cap far above all logits changes nothing, so it must halve the error to be chosen.
        if error < least / 2:
            best, least = head, error
        if least <= 1e-5 * max(1.0, largest):
            break
    return best, least


def output_head(model: nn.Module) -> nn.Module:
    """Return the module that maps hidden states to logits; LMSteerError if the model has none."""
    head: Any = getattr(model, "get_output_embeddings", lambda: None)() if isinstance(model, nn.Module) else None
    if not isinstance(head, nn.Module) or getattr(head, "weight", None) is None:
        kind = "None" if model is None else type(model).__name__
        raise LMSteerError(f"{kind} has no output embeddings: a steer needs a causal LM")
    return head


def head_weight(head: nn.Module) -> Tensor:
    """Return the head's weight, (vocabulary, hidden); in torch's dynamically quantised layers `weight` is a method."""
    weight: Any = head.weight
    return weight() if callable(weight) else weight
