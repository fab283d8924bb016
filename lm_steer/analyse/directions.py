"""What a steer has learned, as words: its singular directions against the vocabulary (paper, section 4.4).

    first, *_ = directions(steer, loaded, "detox")
    first.raised, first.lowered               # words that a positive value makes likelier, and less likely

A Bᵀ = Σ σᵢ uᵢ vᵢᵀ, so a value v adds ε v Σ σᵢ (e_w·uᵢ)(vᵢ·h) to the logit of word w: the word lists come from the uᵢ,
and the vᵢ say in which contexts they act. The sign of each pair makes the mean of vᵢ·h over hidden states positive.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import pandas as pd
import torch
from torch import Tensor

from lm_steer.analyse.grid import text_memo
from lm_steer.analyse.vocabulary import whole_words
from lm_steer.core.attach import check_fit
from lm_steer.core.steer import Steer
from lm_steer.model.head import head_weight, output_head
from lm_steer.model.in_memory import AnyModel, loaded_of
from lm_steer.model.load import texts_of
from lm_steer.util.errors import LMSteerError
from lm_steer.util.formats import write_csv
from lm_steer.util.options import A_FINITE_NUMBER, Positive, check_as, check_kind, numbers

CONTEXTS = 256

Judge = Callable[[list[str]], list[float]]


@dataclass(frozen=True)
class Direction:
    """One singular direction: words with their e_w·u, the strongest first.

    share       of Σσ² that this direction holds
    context     the mean and standard deviation of v·h over the contexts that set its sign
    weights     e_w·u of every whole word
    scores      the judge's mean over `raised` and over `lowered`, if there is a judge
    """

    singular_value: float
    share: float
    context: tuple[float, float]
    raised: list[tuple[str, float]]
    lowered: list[tuple[str, float]]
    weights: dict[str, float]
    scores: tuple[float, float] | None = None


def directions(
    steer: Steer,
    loaded: AnyModel,
    dimension: str,
    *,
    count: int = 8,
    words: int = 12,
    texts: Sequence[str] | None = None,
    judge: Judge | None = None,
    cache: str | Path = ":memory:",
) -> list[Direction]:
    """Return the first `count` directions of a dimension, by singular value.

    loaded      what `load_model` returns, or (model, tokenizer)
    texts       the contexts that set the signs; by default the vocabulary's first words
    judge       scores words, for example by their toxicity

    Raises LMSteerError if the steer has no such dimension or no matrix, or does not fit the model.
    """
    check_as(Positive, count=count, words=words)
    loaded = loaded_of(loaded, cache)
    left, values, right = singular(steer, dimension)
    check_fit(steer, loaded.model)
    vocabulary = whole_words(loaded.tokenizer)
    names = list(vocabulary.values())
    contexts = texts_of(texts) if texts else names[:CONTEXTS]
    memo = text_memo(loaded, cache)
    memo.ensure(contexts, "contexts of the directions")
    acting = torch.cat([memo.state(text) for text in contexts]).float().cpu() @ right
    if not len(acting):
        raise LMSteerError("none of the texts has a token: give others, or leave them out")
    sign = torch.where(acting.mean(0) < 0, -1.0, 1.0)
    left, acting = left * sign, acting * sign
    weight = head_weight(output_head(loaded.model))
    embeddings = weight[torch.tensor(list(vocabulary), device=weight.device)].float().cpu()
    shares = values.square() / values.square().sum().clamp_min(torch.finfo(values.dtype).tiny)
    result = []
    for index in range(min(count, len(values))):
        weights = dict(zip(names, (embeddings @ left[:, index]).tolist(), strict=True))
        # Words of equal weight are in the order of their ids.
        raised = sorted(weights.items(), key=lambda item: -item[1])[:words]
        lowered = sorted(weights.items(), key=lambda item: item[1])[:words]
        scores = None
        if judge:
            each = numbers("judge", judge([word for word, _ in [*raised, *lowered]]), A_FINITE_NUMBER)
            scores = (fmean(each[: len(raised)]), fmean(each[len(raised) :]))
        context = (acting[:, index].mean().item(), acting[:, index].std(correction=0).item())
        result.append(Direction(values[index].item(), shares[index].item(), context, raised, lowered, weights, scores))
    return result


def singular(steer: Steer, dimension: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return u (hidden, n), σ (n,) and v (hidden, n) of A Bᵀ, n = min(hidden, rank), without forming it.

    A = Qa Ra and B = Qb Rb, and the SVD is that of the small Ra Rbᵀ.
    """
    check_kind(Steer, steer=steer)
    if steer.kind != "multiply":
        raise LMSteerError(f"a steer of kind {steer.kind} has no matrix and therefore no singular directions")
    if dimension not in steer.dimensions:
        raise LMSteerError(f"the steer has no dimension '{dimension}': it has {', '.join(steer.dimensions)}")
    index = steer.dimensions.index(dimension)
    (qa, ra), (qb, rb) = (torch.linalg.qr(steer.weights[name][index].float()) for name in "AB")
    small = ra @ rb.T
    if not small.isfinite().all():
        raise LMSteerError(f"the map of dimension '{dimension}' is too large for float32: its weights are damaged")
    u, values, vt = torch.linalg.svd(small)
    return qa @ u, values, qb @ vt.T


def effective_rank(values: Tensor) -> float:
    """Return exp(entropy of σ²/Σσ²): n for n equal singular values, 1 for a single one (Roy & Vetterli, 2007)."""
    shares = values.square() / values.square().sum()
    return math.exp(-torch.special.xlogy(shares, shares).sum().item())


def write_directions(first: Sequence[Direction], values: Tensor, words: Path, spectrum: Path) -> None:
    """Write one line per word of each list, with its coordinates on the first two directions, and all σ."""
    xs, ys = first[0].weights, first[min(1, len(first) - 1)].weights
    lines = []
    for number, direction in enumerate(first, start=1):
        ends = {"raised": direction.raised, "lowered": direction.lowered}
        for (end, listed), score in zip(ends.items(), direction.scores or (math.nan, math.nan), strict=True):
            start = {
                "direction": number,
                "singular_value": direction.singular_value,
                "share": direction.share,
                "context_mean": direction.context[0],
                "context_deviation": direction.context[1],
                "end": end,
                "score": score,
            }
            for place, (word, weight) in enumerate(listed, start=1):
                lines.append({**start, "place": place, "word": word, "weight": weight, "x": xs[word], "y": ys[word]})
    write_csv(words, pd.DataFrame(lines))
    shares = values.square() / values.square().sum()
    frame = pd.DataFrame({"singular_value": values.tolist(), "share": shares.tolist()})
    write_csv(spectrum, frame.assign(effective_rank=effective_rank(values)))
