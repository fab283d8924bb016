"""Evidence of a style in a text, and how strong it is, from log-likelihoods (paper, section 4.5).

    marked = evidence(steer, loaded, "What a warm and funny film.", {"sentiment": 5})
    marked.spans                                   # [Span(start=2, stop=5, score=1.3)]
    reading(steer, loaded, text, "sentiment", [-5, 0, 5]).value

A token argues for the style by log P_v(token) - log P_0(token): how much likelier the steered model finds it.
The style reading of a text is the steer value under which the text is likeliest.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd

from lm_steer.analyse.grid import grid_nll
from lm_steer.core.steer import Steer
from lm_steer.model.in_memory import AnyModel, loaded_of
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import numbered_jsonl
from lm_steer.util.formats import write_csv
from lm_steer.util.options import Positive, check_as, check_kind

# Keeps rounding errors of sums from splitting a span into two touching ones.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Span:
    """Tokens start … stop - 1 of a text and the sum of their scores, in nats."""

    start: int
    stop: int
    score: float


@dataclass(frozen=True)
class Evidence:
    """A text's tokens as character ranges, their scores in nats (0 for the first, which is given), and the spans."""

    text: str
    offsets: list[tuple[int, int]]
    scores: list[float]
    spans: list[Span]

    def piece(self, span: Span) -> str:
        """Return the part of the text that a span covers."""
        return self.text[slice(*_ends(self, span))]


@dataclass(frozen=True)
class Reading:
    """The log-likelihood of a text in nats under each value, and the value where it is highest.

    `inside` is False if that is the first or the last value: the maximum may then lie beyond.
    """

    values: list[float]
    log_likelihoods: list[float]
    value: float
    inside: bool


def evidence(
    steer: Steer,
    loaded: AnyModel,
    text: str,
    values: Mapping[str, float],
    *,
    against: Mapping[str, float] | None = None,
    count: int = 4,
    length: int = 10,
    cache: str | Path = ":memory:",
) -> Evidence:
    """Score the tokens of a text by log P under `values` less log P `against` others, and find the best spans.

    loaded      what `load_model` returns, or (model, tokenizer)
    against     the values of the other side, by default all 0; the opposite values compare +v with -v
    count       at most this many spans, each of at most `length` tokens (the original code's limits)

    Raises LMSteerError for a text of one token or values that the steer does not have.
    """
    loaded = loaded_of(loaded, cache)
    check_kind(Steer, steer=steer)
    if steer.vector(values).equal(steer.vector(against or {})):
        raise LMSteerError(f"both sides have the same values, {dict(values)}: give different ones")
    (nll,) = grid_nll(loaded, steer, [text], [values, against or {}], cache)
    if not loaded.tokenizer.is_fast:
        raise LMSteerError(f"{type(loaded.tokenizer).__name__} gives no offsets of its tokens: use a fast tokenizer")
    offsets = loaded.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    scores = [0.0, *(nll[1] - nll[0]).tolist()]
    return Evidence(text, [tuple(pair) for pair in offsets], scores, best_spans(scores, count, length))


def best_spans(scores: Sequence[float], count: int = 4, length: int = 10) -> list[Span]:
    """Return the disjoint spans with the highest sum of scores: at most `count`, each of at most `length` tokens.

    By dynamic programming; spans that add nothing are left out.
    """
    check_as(Positive, count=count, length=length)
    sums = list(accumulate(scores, initial=0.0))
    # The highest sum within the first tokens, and its spans; each round allows one more span.
    best: list[tuple[float, list[Span]]] = [(0.0, [])] * len(sums)
    for _ in range(min(count, len(scores))):
        row = best[:1]
        for stop in range(1, len(sums)):
            top = max(best[stop], row[-1], key=itemgetter(0))
            for start in range(stop - 1, max(0, stop - length) - 1, -1):
                before, spans = best[start]
                if before + sums[stop] - sums[start] > top[0] + ROUNDING:
                    top = before + sums[stop] - sums[start], [*spans, Span(start, stop, sums[stop] - sums[start])]
            row.append(top)
        best = row
    return best[-1][1]


def reading(
    steer: Steer,
    loaded: AnyModel,
    text: str,
    dimension: str,
    values: Sequence[float],
    *,
    held: Mapping[str, float] | None = None,
    cache: str | Path = ":memory:",
) -> Reading:
    """Return the log-likelihood of a text under values of one dimension, the others `held`, and its maximum.

    Without soft-capping the log-likelihood is concave in the value, so the curve has one maximum, which the parabola
    through the three nearest values interpolates. Raises LMSteerError for fewer than three values.
    """
    ordered = sorted(set(values))
    if len(ordered) < 3:
        raise LMSteerError(f"a style reading needs at least three values of '{dimension}', found {len(ordered)}")
    grid = [{**(held or {}), dimension: value} for value in ordered]
    (nll,) = grid_nll(loaded, steer, [text], grid, cache)
    curve = (-nll.double().sum(1)).tolist()
    top = max(range(len(curve)), key=curve.__getitem__)
    inside = 0 < top < len(curve) - 1
    value = _vertex(ordered[top - 1 : top + 2], curve[top - 1 : top + 2]) if inside else ordered[top]
    return Reading(ordered, curve, value, inside)


Marked = list[tuple[int, int]]


def read_marked(path: str | Path) -> tuple[list[str], list[Marked | None]]:
    """Read texts and the character ranges that people marked in them; None for a line without `spans`."""
    texts, marked = [], []
    for number, row in numbered_jsonl(path, {"text": str}):
        text, spans = row["text"], row.get("spans")
        if not text.strip():
            raise LMSteerError(f"{path}, line {number}: the text is empty")
        if spans is not None and not (isinstance(spans, list) and all(_is_range(span, text) for span in spans)):
            raise LMSteerError(f"{path}, line {number}: expected spans as [start, end] in characters, found {spans!r}")
        texts.append(text)
        marked.append(spans if spans is None else [tuple(span) for span in spans])
    if not texts:
        raise LMSteerError(f"{path} holds no texts")
    return texts, marked


def _is_range(span: Any, text: str) -> bool:
    whole = isinstance(span, list) and len(span) == 2 and all(type(end) is int for end in span)
    return whole and 0 <= span[0] < span[1] <= len(text)


def agreement_with(text: Evidence, marked: Marked) -> tuple[float, float]:
    """Return precision and recall of the spans' characters against those that people marked; NaN for none."""
    ours = {char for span in text.spans for char in range(*_ends(text, span))}
    human = {char for start, stop in marked for char in range(start, stop)}
    both = len(ours & human)
    return both / len(ours) if ours else math.nan, both / len(human) if human else math.nan


def _ends(text: Evidence, span: Span) -> tuple[int, int]:
    return text.offsets[span.start][0], text.offsets[span.stop - 1][1]


def write_evidence(
    texts: Sequence[Evidence], curves: Sequence[Reading], marked: Sequence[Marked | None], tokens: Path, readings: Path
) -> None:
    """Write one line per token of each text, and one line per value of each text's likelihood curve."""
    lines, points = [], []
    for number, (one, curve, human) in enumerate(zip(texts, curves, marked, strict=True), start=1):
        spans = {token: index for index, span in enumerate(one.spans, 1) for token in range(span.start, span.stop)}
        for token, ((start, stop), score) in enumerate(zip(one.offsets, one.scores, strict=True)):
            place = {"text": number, "token": token, "start": start, "stop": stop, "piece": one.text[start:stop]}
            lines.append({**place, "score": score, "span": spans.get(token, 0)})
        precision, recall = (math.nan, math.nan) if human is None else agreement_with(one, human)
        top = {"reading": curve.value, "inside": curve.inside, "precision": precision, "recall": recall}
        for value, likelihood in zip(curve.values, curve.log_likelihoods, strict=True):
            points.append({"text": number, "value": value, "log_likelihood": likelihood, **top})
    write_csv(tokens, pd.DataFrame(lines), digits=8)
    write_csv(readings, pd.DataFrame(points), digits=8)


def _vertex(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the vertex of the parabola through three points, the middle one being the highest."""
    left, right = (y[1] - y[0]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
    if left == right:
        return x[1]
    return (x[0] + x[1]) / 2 + left * (x[2] - x[0]) / (2 * (left - right))
