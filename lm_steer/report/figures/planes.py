"""Figures with two axes: a metric and perplexity, two scores of a text, words on two directions, two steer values.

trade_off("Toxicity and …", points, "avg_max_toxicity")       # Markup
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from lm_steer.report.figures import style
from lm_steer.report.wording import number, title_of
from lm_steer.tables.cells import is_published
from lm_steer.tables.metrics import PRICE, named

WORD_SIZE = 8.5
RULE: dict[str, Any] = {"color": style.LINE, "linewidth": 0.9, "zorder": 0}


@style.on_axes(215, (0.115, 0.2, 0.86, 0.66))
def trade_off(axes: Axes, points: Sequence[style.Point], metric: str) -> None:
    """Draw a metric against perplexity, each setting with both intervals and its label; published values are hollow."""
    prices = [point.price for point in points if point.price]
    places = [(price["value"], point.cell["value"]) for price, point in zip(prices, points, strict=True)]
    if joined := [place for place, point in zip(places, points, strict=True) if point.line]:
        axes.plot(*zip(*joined, strict=True), color=style.MUTED, linewidth=0.9, zorder=1)
    for (x, y), price, point in zip(places, prices, points, strict=True):
        axes.plot([price["low"], price["high"]], [y, y], color=style.LINE, linewidth=1.4, zorder=0)
        axes.plot([x, x], [point.cell["low"], point.cell["high"]], color=style.LINE, linewidth=1.4, zorder=0)
        axes.plot(x, y, "o", zorder=2)
        if is_published(point.cell):
            axes.plot(x, float(point.cell["published"]), "D", color=style.INK, markerfacecolor="none", zorder=2)
    axes.margins(0.2, 0.12)
    style.log_if_wide(axes, "x", PRICE, prices)
    axes.set_xlabel(title_of(PRICE))
    axes.set_title(title_of(metric))
    axes.grid(axis="y")
    _annotate(axes, places, [point.label for point in points], WORD_SIZE + 1)


@style.on_axes(style.WIDTH, (0.12, 0.12, 0.85, 0.85))
def scatter(axes: Axes, first: Sequence[float], second: Sequence[float], labels: tuple[str, str]) -> None:
    """Draw two scores in [0, 1] of the same texts against each other, with lines at .5 and along the diagonal."""
    axes.plot([0, 1], [0, 1], **RULE)
    for draw in (axes.axvline, axes.axhline):
        draw(0.5, linestyle=(0, (3, 3)), **RULE)
    axes.plot(first, second, "o", alpha=0.35, markersize=3, markeredgewidth=0)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=labels[0], ylabel=labels[1])


@style.on_axes(1.1 * style.WIDTH, (0.1, 0.1, 0.86, 0.88), 1.45 * style.WIDTH)
def words(axes: Axes, listed: Sequence[tuple[str, float, float, bool]]) -> None:
    """Draw words in the plane of the first two directions: (word, x, y, whether a positive value raises it)."""
    for draw in (axes.axvline, axes.axhline):
        draw(0, **RULE)
    for _, x, y, raised in listed:
        axes.plot(x, y, "o", color=style.BETTER if raised else style.WORSE, markersize=3)
    axes.set(xlabel="first direction", ylabel="second direction")
    axes.margins(0.15)
    _annotate(axes, [(x, y) for _, x, y, _ in listed], [word for word, *_ in listed], WORD_SIZE)


@style.on_axes(250, (0.15, 0.17, 0.82, 0.7))
def heat_map(
    axes: Axes, xs: Sequence[float], ys: Sequence[float], values: np.ndarray, labels: Sequence[str], metric: str
) -> None:
    """Draw a metric on a grid of two steer values; `values` is (ys, xs), and each cell shows its number."""
    low, high = np.nanmin(values), np.nanmax(values)
    for (row, column), value in np.ndenumerate(values):
        depth = (value - low) / (high - low) if high > low else 0.0
        sides = [column - 0.5, column + 0.5, column + 0.5, column - 0.5], [row - 0.5] * 2 + [row + 0.5] * 2
        axes.fill(*sides, color=style.BETTER, alpha=0.05 + 0.5 * float(depth), linewidth=0)
        axes.text(column, row, number(float(value), named(metric).digits), ha="center", va="center")
    axes.set(xlim=(-0.5, len(xs) - 0.5), ylim=(-0.5, len(ys) - 0.5), xlabel=labels[0], ylabel=labels[1])
    for draw, steps in ((axes.set_xticks, xs), (axes.set_yticks, ys)):
        draw(range(len(steps)), [number(value, 1 if value % 1 else 0) for value in steps])
    axes.set_title(title_of(metric))
    axes.set_frame_on(False)


def _annotate(axes: Axes, places: Sequence[tuple[float, float]], labels: Sequence[str], size: float) -> None:
    """Write labels as near to their points as possible without overlap; nothing may change the axes afterwards."""
    axes.autoscale_view()  # limits are set lazily, and positions depend on them
    figure = axes.get_figure(root=True)
    assert figure is not None
    scale = 72 / figure.get_dpi()
    points = axes.transData.transform(places) * scale
    frame = Bbox(axes.bbox.get_points() * scale)
    taken = [Bbox.from_extents(x - 3, y - 3, x + 3, y + 3) for x, y in points]
    lead = {"arrowstyle": "-", "color": style.MUTED, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
    for index in np.argsort(points[:, 1], kind="stable"):
        (x, y), width = points[index], 0.58 * size * len(labels[index])
        boxes = [
            Bbox.from_bounds(left, bottom, width, size)
            for distance in range(5, 60, 5)
            for left, bottom in _around(x, y, width, size, distance)
        ]
        free = [box for box in boxes if not box.count_overlaps(taken)]
        inside = [box for box in free if frame.contains(*box.min) and frame.contains(*box.max)]
        box = (inside or free or boxes)[0]
        taken.append(box)
        axes.annotate(
            labels[index], places[index], (box.x0 - x, box.y0 - y), textcoords="offset points", fontsize=size,
            zorder=3, arrowprops=lead if boxes.index(box) > SIDES else None,
        )  # fmt: skip


SIDES = 8


def _around(x: float, y: float, width: float, height: float, distance: float) -> list[tuple[float, float]]:
    """Return positions of a label at a distance from a point: right, left, above, below, then the corners."""
    right, left, middle, level = x + distance, x - distance - width, x - width / 2, y - 0.35 * height
    up, down = y + 0.6 * distance, y - 0.6 * distance - 0.7 * height
    beside = [(right, level), (left, level), (middle, up), (middle, down)]
    return [*beside, (right, up), (right, down), (left, up), (left, down)]
