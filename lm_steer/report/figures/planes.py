"""Figures of two axes: a metric and its price, two scores of a text, words on two directions, two steer values.

trade_off("Toxicity and …", points, "avg_max_toxicity")       # Markup
"""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lm_steer.report.figures import style
from lm_steer.report.wording import number, title_of
from lm_steer.tables.metrics import PRICE, named

WORD_SIZE = 8.5
RULE: dict[str, Any] = {"color": style.LINE, "linewidth": 0.9, "zorder": 0}


@style.as_svg
def trade_off(points: Sequence[style.Point], metric: str) -> Figure:
    """Draw a metric against perplexity, each setting with both intervals and a number that the key below explains."""
    key = [textwrap.wrap(f"{mark}  {point.label}", style.LABEL_WIDTH) for mark, point in enumerate(points, start=1)]
    below = style.LINE_HEIGHT * sum(map(len, key)) + 12
    height = 260 + below
    figure = style.blank(height)
    axes = figure.add_axes((0.12, (below + 36) / height, 0.85, 195 / height))
    prices = [point.price for point in points if point.price]
    places = [(price["value"], point.cell["value"]) for price, point in zip(prices, points, strict=True)]
    for line in dict.fromkeys(point.line for point in points if point.line):
        joined = [place for place, point in zip(places, points, strict=True) if point.line == line]
        axes.plot(*zip(*joined, strict=True), color=style.MUTED, linewidth=0.9, zorder=1)
    for (x, y), price, point in zip(places, prices, points, strict=True):
        axes.plot([price["low"], price["high"]], [y, y], color=style.LINE, linewidth=1.4, zorder=0)
        axes.plot([x, x], [point.cell["low"], point.cell["high"]], color=style.LINE, linewidth=1.4, zorder=0)
        axes.plot(x, y, "o", zorder=2)
    style.log_if_wide(axes, "x", PRICE, prices)
    axes.set_xlabel(title_of(PRICE))
    axes.set_title(title_of(metric))
    axes.grid(axis="y")
    _annotate(axes, places, [str(mark) for mark in range(1, len(points) + 1)], (4, 4), zorder=3)
    for row, line in enumerate((line for lines in key for line in lines), start=1):
        figure.text(0.02, (below - style.LINE_HEIGHT * row) / height, line, va="baseline")
    return figure


@style.as_svg
def scatter(first: Sequence[float], second: Sequence[float], labels: tuple[str, str]) -> Figure:
    """Draw two scores in [0, 1] of the same texts against each other, with lines at .5 and where both are equal."""
    figure = style.blank(style.WIDTH)
    axes = figure.add_axes((0.12, 0.12, 0.85, 0.85))
    axes.plot([0, 1], [0, 1], **RULE)
    for draw in (axes.axvline, axes.axhline):
        draw(0.5, linestyle=(0, (3, 3)), **RULE)
    axes.plot(first, second, "o", alpha=0.35, markersize=3, markeredgewidth=0)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=labels[0], ylabel=labels[1])
    return figure


@style.as_svg
def words(listed: Sequence[tuple[str, float, float, bool]]) -> Figure:
    """Draw words in the plane of the first two directions: (word, x, y, whether a positive value raises it)."""
    figure = style.blank(1.1 * style.WIDTH, 1.45 * style.WIDTH)
    axes = figure.add_axes((0.1, 0.1, 0.86, 0.88))
    for draw in (axes.axvline, axes.axhline):
        draw(0, **RULE)
    for _, x, y, raised in listed:
        axes.plot(x, y, "o", color=style.BETTER if raised else style.WORSE, markersize=3)
    axes.set(xlabel="first direction", ylabel="second direction")
    axes.margins(0.15)
    lead = {"arrowstyle": "-", "color": style.LINE, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2}
    names, places = [word for word, *_ in listed], [(x, y) for _, x, y, _ in listed]
    _annotate(axes, places, names, (5, 0), fontsize=WORD_SIZE, va="center", arrowprops=lead)
    return figure


@style.as_svg
def heat_map(
    xs: Sequence[float], ys: Sequence[float], values: np.ndarray, labels: Sequence[str], metric: str
) -> Figure:
    """Draw a metric on a grid of two steer values: (ys, xs), each cell with its number."""
    low, high = np.nanmin(values), np.nanmax(values)
    figure = style.blank(250)
    axes = figure.add_axes((0.15, 0.17, 0.82, 0.7))
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
    return figure


def _annotate(
    axes: Axes, places: Sequence[tuple[float, float]], labels: Sequence[str], offset: tuple[float, float], **text: Any
) -> None:
    """Write labels beside their places, as far up as it takes so that none lies over another; the axes are final."""
    axes.autoscale_view()  # limits are set lazily, and places are measured by them
    figure = axes.get_figure(root=True)
    assert figure is not None
    points = axes.transData.transform(places) * 72 / figure.get_dpi()
    size = text.get("fontsize", style.STYLE["font.size"])
    taken: list[tuple[float, float, float]] = []  # start, end and level of the labels so far
    for index in np.argsort(points[:, 1], kind="stable"):
        start, level = points[index]
        end = start + 0.55 * size * len(labels[index])
        for left, right, other in sorted(taken, key=lambda label: label[2]):
            if left < end and start < right and abs(level - other) < 1.1 * size:
                level = other + 1.1 * size
        taken.append((start, end, level))
        up = offset[1] + level - points[index, 1]
        axes.annotate(labels[index], places[index], (offset[0], up), textcoords="offset points", **text)
