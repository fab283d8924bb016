"""Exact nucleus sampling, without sorting the vocabulary or synchronising the device with the host.

    tokens = sample_tokens(logits, uniforms, top_p=0.9)          # uniforms: (rows, tries(0.9))

This is rejection sampling: a token is drawn from the whole distribution and accepted if it lies in the nucleus, that
is, if more probable tokens have a total mass below top_p. As many draws as a row may need are made at once, by binary
search in the cumulative distribution, and the first one inside is taken. The mass above a draw falls with its
probability, so finding the draws inside takes log2(draws) sums over the vocabulary, on a CPU one for most rows.
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

    Raises LMSteerError if a number is out of range.
    """

    samples: Samples = 25
    new_tokens: NewTokens = 20
    top_p: TopP = 0.9
    top_k: TopK = 0
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self)


def tries(top_p: float) -> int:
    """Return the number of uniforms per token that makes the probability of no draw in the nucleus less than NEVER."""
    return 1 if top_p == 1 else max(FEWEST, math.ceil(math.log(NEVER) / math.log1p(-top_p)))


def sample_tokens(logits: Tensor, uniforms: Tensor, top_p: float = 1.0, top_k: int = 0) -> Tensor:
    """Draw one token per row, (rows,), exactly from softmax(logits) restricted to top-k, then top-p.

    logits (rows, vocabulary) in float32; uniforms (rows, tries(top_p)) in [0, 1). The nucleus is the smallest set of
    most probable tokens whose mass reaches top_p; tokens as probable as its last one belong to it.
    """
    ids = None
    if 0 < top_k < logits.shape[1]:
        logits, ids = logits.topk(top_k, dim=-1)
    probabilities = logits.softmax(-1)
    cumulative = probabilities.cumsum(-1)
    draws = _inverse(cumulative, uniforms)
    tokens = draws[:, 0]
    if top_p < 1:
        limit = top_p * cumulative[:, -1:]
        if logits.is_cuda:
            tokens = first_inside(probabilities, draws, limit)
        else:
            outside = (_above(probabilities, probabilities.gather(1, draws[:, :1])) >= limit).squeeze(1)
            tokens[outside] = first_inside(probabilities[outside], draws[outside], limit[outside])
    return tokens if ids is None else ids.gather(1, tokens[:, None]).squeeze(1)


@cache
def has_triton(device: torch.device) -> bool:
    """Whether Triton kernels run on a device, where they are compiled, which also needs a C compiler."""
    if device.type != "cuda":
        return False
    try:
        from lm_steer.generation.triton_kernels import mass_above

        mass_above(torch.ones(1, 2, device=device), torch.zeros(1, 1, device=device))
    except torch.OutOfMemoryError:
        raise
    # torch's own kernels need neither Triton nor a compiler.
    except Exception as error:
        say(f"sampling with torch's own kernels, which are slower, because Triton does not run ({error})")
        return False
    return True


def first_inside(probabilities: Tensor, draws: Tensor, limit: Tensor) -> Tensor:
    """Return each row's first draw inside its nucleus, (rows,), or the most probable draw if none is inside.

    probabilities (rows, vocabulary); draws (rows, tries); limit (rows, 1) is the mass of the nucleus.
    """
    levels = probabilities.gather(1, draws)
    if has_triton(probabilities.device):
        from lm_steer.generation.triton_kernels import mass_above

        inside = (mass_above(probabilities, levels) < limit) | (levels == levels.amax(-1, keepdim=True))
        return draws.gather(1, inside.int().argmax(-1, keepdim=True)).squeeze(1)
    ordered = levels.sort(dim=-1, descending=True).values
    # By falling probability, the first `inside` draws are known to be in the nucleus, those from `outside` on are not.
    inside = torch.zeros_like(draws[:, :1])
    outside = torch.full_like(inside, draws.shape[1] + 1)
    for _ in range(draws.shape[1].bit_length()):
        middle = (inside + outside) // 2
        level = ordered.gather(1, (middle - 1).clamp(0, draws.shape[1] - 1))
        holds = (_above(probabilities, level) < limit) & (middle <= draws.shape[1])
        inside, outside = torch.where(holds, middle, inside), torch.where(holds, outside, middle)
    lowest = ordered.gather(1, (inside - 1).clamp_min(0))
    return draws.gather(1, (levels >= lowest).int().argmax(-1, keepdim=True)).squeeze(1)


def _above(probabilities: Tensor, level: Tensor) -> Tensor:
    """Return the mass (rows, 1) of tokens more probable than `level` (rows, 1)."""
    return torch.where(probabilities > level, probabilities, 0.0).sum(-1, keepdim=True)


def _inverse(cumulative: Tensor, uniforms: Tensor) -> Tensor:
    """Return the tokens (rows, tries) at uniforms (rows, tries) of a cumulative distribution (rows, vocabulary)."""
    total = cumulative[:, -1:]
    # In float32 a uniform may round to 1, which would select the last token even if its probability is 0.
    points = torch.minimum(uniforms.float() * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, points, right=True).clamp_(max=cumulative.shape[1] - 1)
