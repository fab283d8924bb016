"""Cross-entropy through a frozen head in chunks, so that the full logits are never in memory at once.

    nll = head_cross_entropy(head_of(model), hidden, targets)          # (tokens,), differentiable in `hidden`

The head is frozen, so only ∂loss/∂h' is needed; it is computed together with the loss, so that each chunk's logits are
computed only once.
"""

import torch
from torch import Tensor

from lm_steer.model.head import CHUNK_BYTES, Head


class _HeadCrossEntropy(torch.autograd.Function):
    """Negative log-likelihood per token, with gradients for the hidden states and `offsets`."""

    @staticmethod
    def forward(ctx, hidden, targets, head, values, offsets):  # noqa: ANN001, ANN205
        wants_hidden, wants_offsets = ctx.needs_input_grad[0], ctx.needs_input_grad[4]
        losses = torch.empty(len(hidden), device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        residuals = []
        # A multiple of eight, so that the last chunk is rarely a single row, whose product is summed in another order.
        rows = max(8, CHUNK_BYTES // (4 * head.weight.shape[0]) // 8 * 8)
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
                grad_hidden[part] = head.back(residual).to(hidden.dtype)
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

    With `offsets` (dimensions, vocabulary) and `values` (tokens, dimensions), values @ offsets is added to the logits
    before scale and soft-cap, as a hook on the head's output does; all residuals are then kept for the gradient.
    """
    return _HeadCrossEntropy.apply(hidden, targets, head, values, offsets)
