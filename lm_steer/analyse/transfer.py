"""Transfer of a steer to another model by the tokens that both vocabularies share (paper, section 4.3).

    transferred = transfer(steer, source, target)

H (target hidden, source hidden) is fitted so that E_target H ≈ E_source on the shared tokens (anchors). Then

method          A'      B'          H
least-squares   H A     H B         by least squares: the paper's map
as-published    H A     H B         by Adam (lr .01, 5,000 steps, from N(0, 1)), its rows normalised: the original code
inverse         H A     (H⁺)ᵀ B     by least squares; hidden states move by the inverse, for h·e must be preserved

The paper uses a tenth of the steer value for a transferred steer: `0.1 * transferred`.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lm_steer.analyse.vocabulary import token_bytes
from lm_steer.core.attach import check_fit
from lm_steer.core.steer import Steer
from lm_steer.model.head import head_weight, output_head
from lm_steer.model.in_memory import AnyModel, loaded_of
from lm_steer.model.load import LoadedModel
from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import AtLeastTwo, Seed, check_as, check_kind

METHODS = ("least-squares", "as-published", "inverse")
ANCHORS = 4000
ADAM_STEPS = 5000
ADAM_LEARNING_RATE = 1e-2


@torch.no_grad()
def transfer(
    steer: Steer,
    source: AnyModel,
    target: AnyModel,
    method: str = "least-squares",
    *,
    anchors: int = ANCHORS,
    seed: int = 0,
) -> Steer:
    """Return the steer for `target`; its `about` records what was fitted and how well.

    source, target   what `load_model` returns, or (model, tokenizer)
    anchors     at most this many shared tokens, the first by the source's ids
    seed        of Adam's start, for `as-published`

    Raises LMSteerError if the steer does not fit `source` or is of kind offset, or the vocabularies share fewer tokens
    than the target has hidden units.
    """
    if method not in METHODS:
        raise LMSteerError(f"unknown method of transfer '{method}': choose {', '.join(METHODS)}")
    check_kind(Steer, steer=steer)
    check_as(AtLeastTwo, anchors=anchors)
    check_as(Seed, seed=seed)
    source, target = loaded_of(source), loaded_of(target)
    if steer.kind == "offset":
        raise LMSteerError("a steer of kind offset is a bias on one vocabulary: it cannot be transferred")
    check_fit(steer, source.model)
    pairs = shared_tokens(source, target)[:anchors]
    first, second = (
        head_weight(output_head(loaded.model))
        .float()
        .cpu()[torch.tensor([pair[side] for pair in pairs], dtype=torch.long)]
        for side, loaded in enumerate((source, target))
    )
    if len(pairs) < second.shape[1]:
        raise LMSteerError(
            f"the two vocabularies share {len(pairs)} tokens, fewer than the {second.shape[1]} hidden units of the "
            "target: choose models with more similar tokenizers"
        )
    if not all(head.isfinite().all() and head.any() for head in (first, second)):
        raise LMSteerError("the output head of a model is all zeros or not finite: obtain the model again")
    mapping = fit_by_adam(second, first, seed) if method == "as-published" else least_squares(second, first)
    about = {
        **steer.about,
        "model": target.name,
        "model_type": target.model.config.model_type,
        "model_fingerprint": target.fingerprint,
        "transfer": {
            "method": method,
            "anchors": len(pairs),
            "residual": residual(second, first, mapping),
            "source": source.name,
            "source_fingerprint": source.fingerprint,
        },
    }
    return replace(steer, weights=_transferred(steer, mapping, method), about=about)


def shared_tokens(source: LoadedModel, target: LoadedModel) -> list[tuple[int, int]]:
    """Return (source id, target id) of the tokens that both have, compared as bytes, in the order of source ids."""
    where: dict[bytes, int] = {}
    for number, content in enumerate(token_bytes(target.tokenizer)):
        if content is not None:
            where.setdefault(content, number)
    pairs, seen = [], set()
    for number, content in enumerate(token_bytes(source.tokenizer)):
        if content in where and content not in seen:
            seen.add(content)
            pairs.append((number, where[content]))
    return pairs


def least_squares(inputs: Tensor, outputs: Tensor) -> Tensor:
    """Return H that minimises ‖inputs H - outputs‖², in double precision."""
    return torch.linalg.lstsq(inputs.double(), outputs.double(), driver="gelsd").solution.float()


def fit_by_adam(inputs: Tensor, outputs: Tensor, seed: int = 0, steps: int = ADAM_STEPS) -> Tensor:
    """Return H as the original code fits it: Adam on the mean squared error, from N(0, 1), its rows normalised.

    The gradient 2 (GᵀG H - Gᵀ outputs) needs only two small products, not the anchors at each step.
    """
    generator = torch.Generator().manual_seed(seed)
    mapping = torch.randn(inputs.shape[1], outputs.shape[1], generator=generator).requires_grad_()
    gram, cross = inputs.T @ inputs, inputs.T @ outputs
    optimizer = torch.optim.Adam([mapping], lr=ADAM_LEARNING_RATE)
    for _ in range(steps):
        mapping.grad = 2 * (gram @ mapping.detach() - cross) / outputs.numel()
        optimizer.step()
    return torch.nn.functional.normalize(mapping.detach(), dim=1)


def residual(inputs: Tensor, outputs: Tensor, mapping: Tensor) -> float:
    """Return ‖inputs H - outputs‖² / ‖outputs‖²: 0 where H maps the anchors exactly, 1 for H = 0."""
    return ((inputs @ mapping - outputs).square().sum() / outputs.square().sum()).item()


def _transferred(steer: Steer, mapping: Tensor, method: str) -> dict[str, Any]:
    if steer.kind == "add":
        return {"a": steer.weights["a"] @ mapping.T}
    back = torch.linalg.pinv(mapping.double()).float().T if method == "inverse" else mapping
    return {"A": mapping @ steer.weights["A"], "B": back @ steer.weights["B"]}
