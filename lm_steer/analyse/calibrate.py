"""What steer values cost, from one pass through the body: KL and perplexity over a grid, and a recommended value.

    lm-steer calibrate --model gpt2 --steer my-steer --dimension style --texts reviews.csv

    curve = calibrate(steer, loaded, ["A fine film.", "A dull one."], "style")
    curve.at_kl(0.5), curve.breaks(), curve.recommended()

Texts are given, not sampled (teacher forcing): their hidden states do not depend on the value, and before any
soft-capping the logits are linear in it. `lm-steer evaluate` measures what a value does to continuations.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from lm_steer.analyse.crossing import break_point
from lm_steer.analyse.grid import grid_costs
from lm_steer.core.attach import check_fit
from lm_steer.core.steer import Steer
from lm_steer.model.head import head_of
from lm_steer.model.hidden_cache import HiddenMemo, completions
from lm_steer.model.in_memory import AnyModel, loaded_of
from lm_steer.model.load import texts_of
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import write_json
from lm_steer.util.formats import write_csv
from lm_steer.util.options import A_STEER_VALUE, AboveZero, MaxLength, check_as, check_kind, numbers
from lm_steer.util.words import number

# The grid is these multiples of the power of two at which the KL on a few tokens reaches the price.
MULTIPLES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
POWERS = [2.0**power for power in range(-14, 15)]
FEW = 32
# Texts that a command measures; more would not change the first digit.
TEXTS = 64
# Quality breaks at this multiple of the unsteered perplexity, as in a study's sweeps.
BREAKS_AT = 2.0


@dataclass(frozen=True)
class Point:
    """A value of the grid, KL(steered ‖ unsteered) in nats per token, and the perplexity of the texts."""

    value: float
    kl: float
    perplexity: float


@dataclass(frozen=True)
class Calibration:
    """What the values of one dimension cost, from the lowest to the highest, with others held.

    price       the KL, in nats per token, that the recommended value costs
    unsteered   the perplexity of the texts with every dimension at 0
    """

    dimension: str
    held: dict[str, float]
    price: float
    unsteered: float
    points: list[Point]

    def at_kl(self, kl: float, side: int = 1) -> float:
        """Return the value, from 0 upwards (side -1: downwards), that costs `kl` nats; NaN if none in the grid does.

        The square root of the KL is interpolated, because near 0 the KL grows with the square of the value.
        """
        roots = [math.sqrt(point.kl) for point in self.points]
        return break_point([point.value for point in self.points], roots, math.sqrt(kl), side)

    def breaks(self, side: int = 1) -> float:
        """Return the value at which the perplexity exceeds twice the unsteered one; NaN if it never does."""
        heights = [point.perplexity for point in self.points]
        return break_point([point.value for point in self.points], heights, BREAKS_AT * self.unsteered, side)

    def recommended(self, side: int = 1) -> float:
        """Return the value that costs the price, or the one at which quality breaks if that comes first; or NaN."""
        both = (self.at_kl(self.price, side), self.breaks(side))
        return min((value for value in both if not math.isnan(value)), key=abs, default=math.nan)

    def advice(self) -> list[str]:
        """Return a sentence for each side: the recommended value, and where quality breaks."""
        lines = []
        for side in (1, -1):
            value, breaks = self.recommended(side), self.breaks(side)
            if math.isnan(value):
                continue
            reason = f"{number(self.price)} nats per token" if value == self.at_kl(self.price, side) else ""
            broken = "" if math.isnan(breaks) else f"quality breaks at {breaks:.2g}: twice the unsteered perplexity"
            lines.append(f"recommended {self.dimension}={value:.2g} ({'; '.join(filter(None, (reason, broken)))})")
        return lines


@torch.no_grad()
def calibrate(
    steer: Steer,
    loaded: AnyModel,
    texts: Sequence[str],
    dimension: str,
    *,
    prompts: Sequence[str] | None = None,
    held: Mapping[str, float] | None = None,
    values: Sequence[float] | None = None,
    at_kl: float = 0.5,
    max_length: int = 256,
    cache: str | Path = ":memory:",
) -> Calibration:
    """Measure what the values of one dimension cost on texts, with the others held at fixed values, or at 0.

    loaded      what `load_model` returns, or (model, tokenizer)
    prompts     the prompt of each text; only the tokens of the text are then measured
    values      the grid, to which 0 is added; by default one around the value that costs `at_kl`
    at_kl       the price of the recommended value, KL(steered ‖ unsteered) in nats per token
    max_length  texts are cut to this many tokens, as in training
    cache       a file for hidden states (model/hidden_cache.py)

    Raises LMSteerError for a dimension that the steer lacks, texts without a token to predict, and if no value
    costs `at_kl` or the held values alone do.
    """
    check_kind(Steer, steer=steer)
    loaded = loaded_of(loaded, cache)
    check_as(AboveZero, at_kl=at_kl)
    check_as(MaxLength, max_length=max_length)
    check_kind(str, dimension=dimension)
    check_kind(Mapping, held=held or {})
    held = dict(held or {})
    steps = None if values is None else numbers("values", values, A_STEER_VALUE)
    if dimension in held:
        raise LMSteerError(f"the dimension '{dimension}' is calibrated: leave it out of the values to hold")
    check_fit(steer, loaded.model)
    head = head_of(loaded.model)
    hidden, targets = _predicted(HiddenMemo(cache, loaded, max_length), texts_of(texts), prompts)

    def costs(hidden: Tensor, targets: Tensor, values: Sequence[float]) -> list[list[float]]:
        entries = [{}, *({**held, dimension: value} for value in values)]
        return grid_costs(head, steer, hidden, targets, torch.stack([*map(steer.vector, entries)])).tolist()

    if steps is None:
        stride = max(1, len(hidden) // FEW)
        power = _power(costs(hidden[::stride], targets[::stride], [0.0, *POWERS])[1:], at_kl)
        steps = [sign * power * multiple for multiple in MULTIPLES for sign in (1, -1)]
    grid = sorted({0.0, *steps})
    unsteered, *steered = costs(hidden, targets, grid)
    points = [Point(value, kl, _perplexity(nll, value)) for value, (kl, nll) in zip(grid, steered, strict=True)]
    return Calibration(dimension, held, at_kl, _perplexity(unsteered[1], 0), points)


def write_calibration(curve: Calibration, output: Path) -> None:
    """Write the grid as .csv, or as .json with the values at the price, where quality breaks, and recommended."""
    if output.suffix == ".csv":
        write_csv(output, pd.DataFrame(map(asdict, curve.points)))
        return
    sides = {}
    for name, side in (("up", 1), ("down", -1)):
        values = {"at_kl": curve.at_kl(curve.price, side), "breaks": curve.breaks(side)}
        values["recommended"] = curve.recommended(side)
        sides[name] = {key: None if math.isnan(value) else value for key, value in values.items()}
    write_json(output, {**asdict(curve), **sides})


def _predicted(memo: HiddenMemo, texts: list[str], prompts: Sequence[str] | None) -> tuple[Tensor, Tensor]:
    """Return the final hidden states (tokens, hidden) that predict the tokens of the texts, and these (tokens,)."""
    starts = [""] * len(texts) if prompts is None else texts_of(prompts)
    if len(starts) != len(texts):
        raise LMSteerError(f"expected one prompt per text, found {len(starts)} for {len(texts)} texts")
    pairs = list(zip(starts, texts, strict=True))
    rows = zip(map("".join, pairs), completions(memo, pairs), strict=True)
    usable = [(text, ids, start) for text, (ids, start) in rows if len(ids) > start]
    if not usable:
        raise LMSteerError(f"none of the {len(texts)} texts has a token to predict after its first: give longer ones")
    states = memo.states([text for text, _, _ in usable], "calibrate")
    hidden = torch.cat([states[text][start - 1 : -1] for text, _, start in usable])
    return hidden, torch.tensor([token for _, ids, start in usable for token in ids[start:]])


def _power(costs: list[list[float]], at_kl: float) -> float:
    """Return the first power of two whose KL reaches `at_kl`; `costs` begins with those at 0."""
    if costs[0][0] >= at_kl:
        raise LMSteerError(
            f"the held values alone cost {costs[0][0]:.2g} nats per token, expected less than {number(at_kl)}: hold "
            "lower ones, or choose a higher KL"
        )
    for power, (kl, _) in zip(POWERS, costs[1:], strict=True):
        if kl >= at_kl:
            return power
    raise LMSteerError(f"no value up to {number(POWERS[-1])} costs {number(at_kl)} nats per token: choose a lower KL")


def _perplexity(nll: float, value: float) -> float:
    """Return exp of the mean NLL; LMSteerError if it overflows a float."""
    if not nll < math.log(sys.float_info.max):
        raise LMSteerError(f"the perplexity at {number(value)} is too large for a number: choose smaller values")
    return math.exp(nll)
