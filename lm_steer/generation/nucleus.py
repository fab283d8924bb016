"""Draw tokens from the nucleus exactly, without sorting the vocabulary and without the device waiting for the host.

    tokens = sample_tokens(logits, uniforms, top_p=0.9)          # uniforms: (rows, tries(0.9))

A token is drawn from the whole distribution and kept if it lies in the nucleus, that is if more probable tokens hold
less than top_p; else the next draw counts. So as many draws as a row may need are made at once, by binary search in
the cumulative distribution, and the first inside is taken. The more probable a draw, the less lies above it: which of
them are inside takes log2(draws) sums over the vocabulary, and on a CPU one for most rows.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from lm_steer.util.options import NewTokens, Samples, Seed, TopK, TopP, check_fields
from lm_steer.util.progress import say

FEWEST = 16
NEVER = 1e-12


@dataclass(frozen=True)
class Sampling:
    """How tokens are sampled; top_k 0 means no limit, top_p 1 the whole distribution.

    Raises LMSteerError where a number is out of range.
    """

    samples: Samples = 25
    new_tokens: NewTokens = 20
    top_p: TopP = 0.9
    top_k: TopK = 0
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self)


def tries(top_p: float) -> int:
    """Return how many uniforms a token needs, so that all fall outside the nucleus with a probability below NEVER."""
    return 1 if top_p == 1 else max(FEWEST, math.ceil(math.log(NEVER) / math.log1p(-top_p)))


def sample_tokens(logits: Tensor, uniforms: Tensor, top_p: float = 1.0, top_k: int = 0) -> Tensor:
    """Draw one token per row, (rows,), exactly from the top-k, then top-p part of softmax(logits).

    logits (rows, vocabulary) in float32; uniforms (rows, tries(top_p)) in [0, 1). The nucleus is the smallest set of
    most probable tokens whose mass reaches top_p; tokens as probable as its last one belong to it.
    """
    ids = None
    if 0 < top_k < logits.shape[1]:
        logits, ids = logits.topk(top_k, dim=-1)
    probabilities = logits.softmax(-1)
    cumulative = probabilities.cumsum(-1)
    draws = _inverse(cumulative, uniforms)
    chosen = draws[:, 0]
    if top_p < 1:
        limit = top_p * cumulative[:, -1:]
        if logits.is_cuda:
            chosen = first_inside(probabilities, draws, limit)
        else:
            outside = (_above(probabilities, probabilities.gather(1, draws[:, :1])) >= limit).squeeze(1)
            chosen[outside] = first_inside(probabilities[outside], draws[outside], limit[outside])
    return chosen if ids is None else ids.gather(1, chosen[:, None]).squeeze(1)


@cache
def has_triton(device: torch.device) -> bool:
    """Whether the kernels written in Triton run on a device, where each is compiled: that needs a C compiler too."""
    if device.type != "cuda":
        return False
    try:
        from lm_steer.generation.triton_kernels import mass_above

        mass_above(torch.ones(1, 2, device=device), torch.zeros(1, 1, device=device))
    except torch.OutOfMemoryError:
        raise
    # Whatever is missing, torch's own kernels do without it.
    except Exception as error:
        say(f"sampling goes on with torch's own kernels, which are slower: Triton does not run ({error})")
        return False
    return True


def first_inside(probabilities: Tensor, draws: Tensor, limit: Tensor) -> Tensor:
    """Return each row's first draw inside its nucleus, (rows,); where there is none, the most probable draw.

    probabilities (rows, vocabulary); draws (rows, tries); limit (rows, 1) is the mass of the nucleus.
    """
    own = probabilities.gather(1, draws)
    if has_triton(probabilities.device):
        from lm_steer.generation.triton_kernels import mass_above

        inside = (mass_above(probabilities, own) < limit) | (own == own.amax(-1, keepdim=True))
        return draws.gather(1, inside.int().argmax(-1, keepdim=True)).squeeze(1)
    ordered = own.sort(dim=-1, descending=True).values
    # Of the draws by falling probability, `inside` are known to be in the nucleus, and those from `outside` on not.
    inside = torch.zeros_like(draws[:, :1])
    outside = torch.full_like(inside, draws.shape[1] + 1)
    for _ in range(draws.shape[1].bit_length()):
        middle = (inside + outside) // 2
        level = ordered.gather(1, (middle - 1).clamp(0, draws.shape[1] - 1))
        holds = (_above(probabilities, level) < limit) & (middle <= draws.shape[1])
        inside, outside = torch.where(holds, middle, inside), torch.where(holds, outside, middle)
    lowest = ordered.gather(1, (inside - 1).clamp_min(0))
    return draws.gather(1, (own >= lowest).int().argmax(-1, keepdim=True)).squeeze(1)


def _above(probabilities: Tensor, level: Tensor) -> Tensor:
    """Return the mass (rows, 1) of tokens more probable than `level` (rows, 1)."""
    return torch.where(probabilities > level, probabilities, 0.0).sum(-1, keepdim=True)


def _inverse(cumulative: Tensor, uniforms: Tensor) -> Tensor:
    """Return the tokens (rows, tries) at uniforms (rows, tries) of a cumulative distribution (rows, vocabulary)."""
    total = cumulative[:, -1:]
    # In float32 a uniform may round to 1, which would take the last token even where its probability is 0.
    points = torch.minimum(uniforms.float() * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, points, right=True).clamp_(max=cumulative.shape[1] - 1)
