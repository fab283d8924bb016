"""Training-free steers, from the texts that a training would draw: baselines at the cost of one pass over them.

`add` is the difference of the mean head inputs, as contrastive activation addition computes it at a middle layer
(Rimsky et al., ACL 2024); `offset` is the difference of each token's log-odds, with half a count as a prior (Monroe et
al., 2008). Texts are weighted by the size of their labels. A steer value of 1 adds the whole difference.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lm_steer.model.hidden_cache import DrawnStates
from lm_steer.util.errors import LMSteerError

PRIOR = 0.5


def difference(
    states: DrawnStates, values: Tensor, dimensions: Sequence[str], epsilon: float, vocabulary: int = 0
) -> Tensor:
    """Return the difference divided by ε: (dimensions, hidden), or with a vocabulary (dimensions, vocabulary).

    values      (texts, dimensions), labels in [-1, 1]
    Raises LMSteerError if a dimension has no positive or no negative labels.
    """
    sides = {side: (side * values).clamp(min=0) for side in (1, -1)}
    sums = {side: torch.zeros(0) for side in sides}
    totals = {side: torch.zeros(len(dimensions), dtype=torch.float64) for side in sides}
    for step, batch in enumerate(states.draw):
        hidden, targets, row = (part.cpu() for part in states.packed(step))
        for side, weight in sides.items():
            # (tokens, dimensions)
            each = weight[batch][row].double()
            if vocabulary:
                new = torch.zeros(vocabulary, len(dimensions), dtype=torch.float64).index_add_(0, targets, each).T
            else:
                new = each.T @ hidden.double()
            sums[side] = new if step == 0 else sums[side] + new
            totals[side] += each.sum(0)
    for index, name in enumerate(dimensions):
        if not all(total[index] > 0 for total in totals.values()):
            raise LMSteerError(
                f"the drawn texts lack positive or negative labels of '{name}', and a difference needs both: add some"
            )
    return _contrast(sums, totals, bool(vocabulary)).float() / epsilon


def _contrast(sums: dict[int, Tensor], totals: dict[int, Tensor], of_counts: bool) -> Tensor:
    if not of_counts:
        return sums[1] / totals[1][:, None] - sums[-1] / totals[-1][:, None]
    odds = {}
    for side, counts in sums.items():
        share = (counts + PRIOR) / (totals[side][:, None] + PRIOR * counts.shape[1])
        odds[side] = torch.log(share) - torch.log1p(-share)
    return odds[1] - odds[-1]
