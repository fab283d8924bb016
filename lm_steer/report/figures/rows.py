"""Figures with one row per mark: differences and values with their intervals, tokens.

effects("Differences …", points, "avg_max_toxicity")       # Markup
"""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lm_steer.report.figures import style
from lm_steer.report.wording import compared, direction, number, signed, title_of, verdict
from lm_steer.tables.cells import Cell, is_published
from lm_steer.tables.metrics import PRICE, named

INTERVAL = 24
MARK = 9  # below its label, and nearer to it than to the next one
COLOUR_OF = {"better": style.BETTER, "worse": style.WORSE, "other": style.INK, "none": style.MUTED}
LABEL_GROUND = {"facecolor": style.GROUND, "edgecolor": "none", "pad": 1}


@style.as_svg
def effects(rows: Sequence[style.Point], metric: str) -> Figure:
    """Draw paired differences to unsteered with their intervals: the metric on the left, perplexity on the right.

    A mark is hollow if its interval includes 0.
    """
    labels = [textwrap.wrap(row.label, style.LABEL_WIDTH) or [""] for row in rows]
    *starts, total = np.cumsum([0, *(style.LINE_HEIGHT * len(lines) + INTERVAL for lines in labels)])
    marks = [start + style.LINE_HEIGHT * len(lines) + MARK for start, lines in zip(starts, labels, strict=True)]
    top, bottom = 30, 26
    height = top + total + bottom
    figure = style.blank(height)
    columns: dict[str, list[Cell | None]] = {metric: [row.cell for row in rows]}
    if any(row.price for row in rows):
        columns[PRICE] = [row.price for row in rows]
    width = 0.96 if len(columns) == 1 else 0.45
    for left, (column, cells) in zip((0.02, 0.53), columns.items(), strict=False):
        axes = figure.add_axes((left, bottom / height, width, total / height))
        axes.set_title(title_of(column))
        for cell, y in zip(cells, marks, strict=True):
            if cell and compared(cell):
                colour = COLOUR_OF[verdict(cell)]
                fill = colour if direction(cell) else style.GROUND
                axes.plot([cell["difference_low"], cell["difference_high"]], [y, y], color=colour, linewidth=1.8)
                axes.plot(cell["difference"], y, "o", color=colour, markerfacecolor=fill, markersize=5.5)
        axes.set_ylim(total, 0)
        axes.set_yticks([])
        _axis_of_differences(axes, named(column).digits, ticks=6 // len(columns))
    for start, lines in zip(starts, labels, strict=True):
        for place, line in enumerate(lines, start=1):
            y = 1 - (top + start + style.LINE_HEIGHT * place - 2) / height
            figure.text(0.02, y, line, va="baseline", bbox=LABEL_GROUND)
    return figure


def _axis_of_differences(axes: Axes, digits: int, ticks: int) -> None:
    """Set up the horizontal axis so that it shows 0, and its tick labels differ in the digits shown."""
    low, high = axes.get_xlim() if axes.lines else (-1.0, 1.0)
    least = 2 * 10**-digits
    low, high = min(low, -least), max(high, least)
    axes.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    axes.axvline(0, color=style.MUTED, linewidth=0.9, zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(ticks))
    step = abs(np.diff(axes.get_xticks()[:2])[0])
    decimals = min(digits, max(0, -math.floor(math.log10(step) + 1e-9)))
    axes.xaxis.set_major_formatter(lambda value, _: signed(value, decimals) if value else number(0, 0))
    _rows(axes)


@style.as_svg
def values(labels: Sequence[str], cells: Sequence[Cell], metric: str) -> Figure:
    """Draw one metric of several settings with their intervals, one row each; published values are hollow."""
    height = 46 + 22 * len(cells)
    figure = style.blank(height)
    axes = figure.add_axes((0.47, 24 / height, 0.5, 1 - 46 / height))
    for row, cell in enumerate(cells):
        axes.plot([cell["low"], cell["high"]], [row, row], linewidth=1.8)
        axes.plot(cell["value"], row, "o")
        if is_published(cell):
            axes.plot(float(cell["published"]), row, "D", color=style.INK, markerfacecolor="none")
    _named_rows(axes, [label if len(label) < 29 else f"{label[:27]}…" for label in labels])
    axes.xaxis.set_major_locator(MaxNLocator(4))
    style.log_if_wide(axes, "x", metric, cells)
    axes.set_title(title_of(metric))
    return figure


@style.as_svg
def token_bars(pieces: Sequence[str], scores: Sequence[float]) -> Figure:
    """Draw a bar for each token's evidence in nats, one row each."""
    height = 34 + 13 * len(pieces)
    figure = style.blank(height)
    axes = figure.add_axes((0.3, 22 / height, 0.68, 1 - 24 / height))
    axes.barh(
        range(len(scores)), scores, color=[style.BETTER if score > 0 else style.WORSE for score in scores], height=0.7
    )
    _named_rows(axes, [piece.strip() or "·" for piece in pieces], fontsize=9)
    axes.axvline(0, color=style.MUTED, linewidth=0.9)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    return figure


def _named_rows(axes: Axes, labels: Sequence[str], **text: Any) -> None:
    axes.set_yticks(range(len(labels)), labels, **text)
    axes.tick_params(axis="y", labelcolor=style.INK)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    _rows(axes)


def _rows(axes: Axes) -> None:
    axes.set_frame_on(False)
    axes.grid(axis="x")
