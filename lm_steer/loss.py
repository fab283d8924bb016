"""Cross-entropy through a frozen head, in chunks: the full logits never exist at once.

    nll = head_cross_entropy(head_of(model), hidden, targets)          # (tokens,), differentiable in `hidden`

Only ∂loss/∂h' is needed, for the head does not learn; it is computed with the loss, so that each chunk's logits
are made once and dropped.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lm_steer.attach import output_head
from lm_steer.hidden import head_inputs
from lm_steer.util.errors import LMSteerError

CHUNK_BYTES = 64 << 20


@dataclass(frozen=True)
class Head:
    """What turns head inputs into logits: softcap(scale · (W h + b)), with softcap(z) = c·tanh(z / c)."""

    weight: Tensor
    bias: Tensor | None
    scale: float
    softcap: float | None

    def logits(self, hidden: Tensor, offset: Tensor | None = None) -> Tensor:
        """Return float32 logits (tokens, vocabulary) of head inputs (tokens, hidden)."""
        return self._cap(self._linear(hidden, offset))

    def _linear(self, hidden: Tensor, offset: Tensor | None) -> Tensor:
        logits = torch.nn.functional.linear(hidden.to(self.weight.dtype), self.weight, self.bias).float()
        logits = logits if offset is None else logits + offset
        return logits if self.scale == 1 else logits * self.scale

    def _cap(self, logits: Tensor) -> Tensor:
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)


@torch.no_grad()
def head_of(model: PreTrainedModel) -> Head:
    """Read off a model's head, and learn from a probe what scale and soft-cap follow it.

    Raises LMSteerError for an architecture that does something else to its logits, and for logits that are not finite.
    """
    module = output_head(model)
    plain = Head(module.weight, getattr(module, "bias", None), 1.0, None)
    # Some models read the padding's id as the end of the text.
    padding = getattr(model.config.get_text_config(), "pad_token_id", None)
    ids = [index for index in range(1, 10) if index != padding][:8]
    probe = torch.tensor([ids], device=module.weight.device) % module.weight.shape[0]
    expected = model(probe, use_cache=False).logits[0].float()
    hidden = head_inputs(model, probe, torch.ones_like(probe))[0]
    if not (hidden.isfinite().all() and expected.isfinite().all()):
        raise LMSteerError(
            f"the logits of this {type(model).__name__} are not finite: its weights are damaged, or too large for "
            f"{str(model.dtype).removeprefix('torch.')}"
        )
    exact = module.weight.dtype == torch.float32
    head, error = plain, torch.inf
    if expected.shape == (*hidden.shape[:-1], module.weight.shape[0]):
        head, error = _fitted(plain, hidden, expected, _numbers(model), 1e-4 if exact else 1e-2)
    if not error <= (1e-3 if exact else 5e-2) * max(1.0, expected.abs().max().item()):
        raise LMSteerError(
            f"{type(model).__name__} changes its logits after the head in a way that is not known here: "
            "steers attach to it, but cannot be trained on it"
        )
    return head


def _numbers(model: PreTrainedModel) -> list[float]:
    """Return the numbers of a model's config, among which its scale and its soft-cap are, if it has them."""
    values = model.config.get_text_config().to_dict().values()
    return [float(value) for value in values if isinstance(value, int | float) and value > 0]


def _fitted(plain: Head, hidden: Tensor, expected: Tensor, numbers: list[float], near: float) -> tuple[Head, float]:
    """Return the head that gives the expected logits, (tokens, vocabulary), and its largest error.

    A soft-cap is one of the `numbers`; so is the scale, or its inverse, where the fitted one comes `near` to it.
    """
    linear, largest = plain.logits(hidden).double(), expected.abs().max().item()
    best, least = plain, torch.inf
    for softcap in (None, *sorted({number for number in numbers if number > largest})):
        uncapped = expected.double()
        if softcap is not None:
            uncapped = softcap * torch.atanh(uncapped / softcap)
        # A head of zeros shows no scale.
        scale = ((uncapped * linear).sum() / linear.square().sum()).item() if linear.any() else 1.0
        known = min((x for number in (1.0, *numbers) for x in (number, 1.0 / number)), key=lambda x: abs(x - scale))
        scale = known if math.isclose(known, scale, rel_tol=near) else scale
        head = replace(plain, scale=scale, softcap=softcap)
        error = (head.logits(hidden) - expected).abs().max().item()
        # A cap far above all logits changes none: it has to explain them much better.
        if error < least / 2:
            best, least = head, error
        if least <= 1e-5 * max(1.0, largest):
            break
    return best, least


class _HeadCrossEntropy(torch.autograd.Function):
    """Negative log-likelihood of each token; gradients for the hidden states and for the rows of `offsets`."""

    @staticmethod
    def forward(ctx, hidden, targets, head, values, offsets):  # noqa: ANN001, ANN205
        wants_hidden, wants_offsets = ctx.needs_input_grad[0], ctx.needs_input_grad[4]
        losses = torch.empty(len(hidden), device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        residuals = []
        rows = max(1, CHUNK_BYTES // (4 * head.weight.shape[0]))
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            offset = None if offsets is None else values[part] @ offsets
            linear = head._linear(hidden[part], offset)
            logits = head._cap(linear)
            column = targets[part, None]
            log_probabilities = logits.log_softmax(-1)
            losses[part] = -log_probabilities.gather(1, column).squeeze(1)
            if not (wants_hidden or wants_offsets):
                continue
            residual = log_probabilities.exp_()
            residual.scatter_add_(1, column, torch.full_like(column, -1, dtype=residual.dtype))
            if head.softcap is not None:
                residual *= 1 - torch.tanh(linear / head.softcap).square()
            if head.scale != 1:
                residual *= head.scale
            if wants_hidden:
                grad_hidden[part] = (residual.to(head.weight.dtype) @ head.weight).to(hidden.dtype)
            if wants_offsets:
                residuals.append(residual)
        ctx.grad_hidden, ctx.values, ctx.residuals = grad_hidden, values, residuals
        return losses

    @staticmethod
    def backward(ctx, grad):  # noqa: ANN001, ANN205
        for_hidden = None if ctx.grad_hidden is None else ctx.grad_hidden * grad[:, None].to(ctx.grad_hidden.dtype)
        for_offsets = None
        if ctx.residuals:
            for_offsets = (ctx.values * grad[:, None]).T @ torch.cat(ctx.residuals)
        return for_hidden, None, None, None, for_offsets


def head_cross_entropy(
    head: Head, hidden: Tensor, targets: Tensor, values: Tensor | None = None, offsets: Tensor | None = None
) -> Tensor:
    """Return the NLL (tokens,) of `targets` (tokens,) from head inputs `hidden` (tokens, width).

    With `offsets` (dimensions, vocabulary) and `values` (tokens, dimensions), values @ offsets is added to the
    logits before scale and soft-cap, as a hook on the head's output does; residuals are kept for the gradient.
    """
    return _HeadCrossEntropy.apply(hidden, targets, head, values, offsets)
