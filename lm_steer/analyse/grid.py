"""Log-likelihoods of given texts under a grid of steer values, from one pass through the body.

    grid_nll(loaded, steer, ["A fine film."], [{"sentiment": 0}, {"sentiment": 5}])      # [(2, tokens - 1)]

Before any soft-capping the head is linear in the values: logits(v) = z₀ + Σ_k v_k z_k. So a grid costs the hidden
states of each text once, one product with the head per dimension, and one sum per value. (This does not hold for
sampling, where each value has its own texts.)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lm_steer.core.attach import check_fit
from lm_steer.core.steer import Steer
from lm_steer.model.head import CHUNK_BYTES, Head, head_of
from lm_steer.model.hidden_cache import HiddenMemo
from lm_steer.model.in_memory import AnyModel, loaded_of
from lm_steer.model.load import LoadedModel, texts_of
from lm_steer.util.errors import LMSteerError


@torch.no_grad()
def grid_nll(
    loaded: AnyModel,
    steer: Steer,
    texts: Sequence[str],
    grid: Sequence[Mapping[str, float]],
    cache: str | Path = ":memory:",
) -> list[Tensor]:
    """Return for each text the NLL in nats of its tokens under each entry of the grid, (entries, tokens - 1).

    The first token is given, not predicted. `cache` is a file for hidden states (model/hidden_cache.py).
    Raises LMSteerError for a text of one token or beyond the model's context, and for an empty grid.
    """
    loaded = loaded_of(loaded, cache)
    if not grid:
        raise LMSteerError("the grid has no steer values: give at least one")
    texts = texts_of(texts)
    head = head_of(loaded.model)
    check_fit(steer, loaded.model)
    values = torch.stack([steer.vector(entry) for entry in grid]).to(loaded.device)
    memo = text_memo(loaded, cache)
    memo.ensure(texts, "texts under a grid")
    ids = memo.token_ids(texts)
    for text, row in zip(texts, ids, strict=True):
        if len(row) < 2:
            raise LMSteerError(f"a text needs at least two tokens, {text!r} has {len(row)}")
    return [
        _text_nll(head, steer, memo.state(text)[:-1], torch.tensor(row[1:], device=loaded.device), values)
        for text, row in zip(texts, ids, strict=True)
    ]


def text_memo(loaded: LoadedModel, cache: str | Path = ":memory:") -> HiddenMemo:
    """Return a memo of hidden states that raises LMSteerError for a text beyond the context, rather than cut it."""
    return _WholeTexts(cache, loaded, 1 << 30)


class _WholeTexts(HiddenMemo):
    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return self.loaded.whole_ids(texts, spare=0)


def _text_nll(head: Head, steer: Steer, hidden: Tensor, targets: Tensor, values: Tensor) -> Tensor:
    """Return the NLL (entries, tokens) of one text, in chunks of tokens: the full logits never exist at once."""
    parts = []
    for part, logits_at in _chunks(head, steer, hidden):
        column = targets[part, None]
        logits = (logits_at(entry) for entry in values)
        parts.append(torch.stack([(each.logsumexp(-1, True) - each.gather(1, column)).squeeze(1) for each in logits]))
    return torch.cat(parts, dim=1)


def grid_costs(head: Head, steer: Steer, hidden: Tensor, targets: Tensor, values: Tensor) -> Tensor:
    """Return what each entry costs, (entries, 2): KL(steered ‖ unsteered), and the NLL of the targets.

    Both are means over the tokens, in nats. `hidden` (tokens, hidden) and `targets` (tokens,) may be on the host;
    `values` is (entries, dimensions).
    """
    sums = torch.zeros(len(values), 2, dtype=torch.float64)
    for part, logits_at in _chunks(head, steer, hidden):
        plain = logits_at(torch.zeros_like(values[0])).log_softmax(-1)
        column = targets[part, None].to(plain.device)
        for index, entry in enumerate(values):
            steered = logits_at(entry).log_softmax(-1)
            nll = -steered.gather(1, column).double().sum()
            # In place, because allocating memory would take half of the time.
            kl = torch.linalg.vecdot(steered.exp(), steered.sub_(plain)).clamp(min=0).double().sum()
            sums[index] += torch.stack([kl, nll]).cpu()
    return sums / len(hidden)


def _chunks(head: Head, steer: Steer, hidden: Tensor) -> Iterator[tuple[slice, Callable[[Tensor], Tensor]]]:
    """Yield chunks of tokens, each with the function from steer values (dimensions,) to its logits."""
    device = head.weight.device
    weights = {name: weight.to(device) for name, weight in steer.weights.items()}
    rows = max(1, CHUNK_BYTES // (4 * head.weight.shape[0] * (len(steer.dimensions) + 1)))
    for start in range(0, len(hidden), rows):
        part = slice(start, start + rows)
        chunk = hidden[part].to(device)
        base = torch.nn.functional.linear(chunk.to(head.weight.dtype), head.weight, head.bias).float()
        each = [_unit_logits(head, steer, weights, index, chunk) for index in range(len(steer.dimensions))]
        yield part, partial(_logits, head, base, each)


def _unit_logits(head: Head, steer: Steer, weights: dict[str, Tensor], index: int, hidden: Tensor) -> Tensor:
    """Return z_k, what a value of 1 on one dimension adds to the logits before scale and soft-cap."""
    if steer.kind == "offset":
        return steer.epsilon * weights["o"][index]
    shift = weights["a"][index] if steer.kind == "add" else hidden.float() @ weights["B"][index] @ weights["A"][index].T
    return steer.epsilon * torch.nn.functional.linear(shift.to(head.weight.dtype), head.weight).float()


def _logits(head: Head, base: Tensor, each: list[Tensor], entry: Tensor) -> Tensor:
    logits = base
    for value, unit in zip(entry.tolist(), each, strict=True):
        if value:
            logits = logits + value * unit
    logits = logits if head.scale == 1 else logits * head.scale
    return logits if head.softcap is None else head.softcap * torch.tanh(logits / head.softcap)
