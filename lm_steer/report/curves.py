"""Curves of a study: a metric against the steer value, and against the perplexity that it costs.

value_curves(family, rows, name), trade_off(points, "avg_max_toxicity", name)      # Markup
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lm_steer.report.figures import COLOURS, LABEL_WIDTH, LINE, STYLE, apart, bare, blank, inline
from lm_steer.report.wording import number
from lm_steer.tables.cells import Cell
from lm_steer.tables.metrics import PRICE, named

PLOT = 215
# From this ratio of its ends on, an axis of perplexity is logarithmic.
WIDE = 8


@dataclass(frozen=True)
class Point:
    """One setting: what it is called, its metric, its perplexity; points of one `line` are joined."""

    label: str
    cell: Cell
    price: Cell
    line: str = ""


def value_curves(values: Sequence[float], cells: Mapping[str, Sequence[Cell | None]], axis: str, name: str) -> Markup:
    """Draw each metric of `cells` (one cell per value, None where there is none) against the steer value."""
    with rc_context(STYLE):
        figure = blank(PLOT)
        width = 1 / len(cells)
        for place, (metric, row) in enumerate(cells.items()):
            axes = figure.add_axes((width * place + 0.115 * width**0.5, 0.2, width - 0.18 * width**0.5, 0.66))
            there = [(value, cell) for value, cell in zip(values, row, strict=True) if cell]
            colour = COLOURS["worse" if metric == PRICE else "better"][0]
            axes.fill_between(
                [value for value, _ in there],
                [cell["low"] for _, cell in there],
                [cell["high"] for _, cell in there],
                color=colour,
                alpha=0.18,
                linewidth=0,
            )
            axes.plot(
                [value for value, _ in there], [cell["value"] for _, cell in there], "o-", color=colour, markersize=4
            )
            _published(
                axes, [(value, float(cell["published"])) for value, cell in there if cell.get("published", "") != ""]
            )
            axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
            _log_if_wide(axes.set_yscale, axes.yaxis, [row for _, row in there], metric)
            axes.set_xlabel(axis)
            _headed(axes, metric)
            _grid(axes)
        return inline(figure, name)


def trade_off(points: Sequence[Point], metric: str, name: str) -> Markup:
    """Draw a metric against perplexity, each setting with both intervals and a number that the key below explains."""
    key = [textwrap.wrap(f"{mark}  {point.label}", LABEL_WIDTH) for mark, point in enumerate(points, start=1)]
    below = LINE * sum(map(len, key)) + 12
    height = PLOT + 45 + below
    with rc_context(STYLE):
        figure = blank(height)
        axes = figure.add_axes((0.12, (below + 36) / height, 0.85, (PLOT - 20) / height))
        for line in dict.fromkeys(point.line for point in points if point.line):
            joined = [point for point in points if point.line == line]
            axes.plot(
                [point.price["value"] for point in joined],
                [point.cell["value"] for point in joined],
                color=COLOURS["muted"][0],
                linewidth=0.9,
                zorder=1,
            )
        for point in points:
            x, y = point.price, point.cell
            axes.plot([x["low"], x["high"]], [y["value"]] * 2, color=COLOURS["line"][0], linewidth=1.4, zorder=0)
            axes.plot([x["value"]] * 2, [y["low"], y["high"]], color=COLOURS["line"][0], linewidth=1.4, zorder=0)
            axes.plot(x["value"], y["value"], "o", color=COLOURS["better"][0], markersize=5, zorder=2)
        _log_if_wide(axes.set_xscale, axes.xaxis, [point.price for point in points], PRICE)
        axes.set_xlabel(f"{named(PRICE).heading} {named(PRICE).arrow}")
        _headed(axes, metric)
        _grid(axes)
        places = [(point.price["value"], point.cell["value"]) for point in points]
        marks = [str(mark) for mark in range(1, len(points) + 1)]
        for place, mark, up in zip(places, marks, apart(axes, places, marks, STYLE["font.size"]), strict=True):
            axes.annotate(mark, place, (4, 4 + up), textcoords="offset points", zorder=3)
        for row, line in enumerate(line for lines in key for line in lines):
            figure.text(0.02, (below - LINE * (row + 1)) / height, line, va="baseline")
        return inline(figure, name)


def _published(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    if points:
        axes.plot(
            *zip(*points, strict=True), "D", color=COLOURS["ink"][0], markerfacecolor="none", label="as published"
        )
        axes.legend(frameon=False, loc="best")


def _log_if_wide(set_scale: Callable[[str], None], axis: Axis, cells: Sequence[Cell], metric: str) -> None:
    """Draw perplexity by its logarithm where it spans much."""
    if metric == PRICE and max(cell["high"] for cell in cells) > WIDE * min(cell["low"] for cell in cells):
        set_scale("log")
        axis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 0)))
        axis.set_minor_formatter(NullFormatter())
        axis.set_tick_params(which="minor", length=0)


def _headed(axes: Axes, metric: str) -> None:
    title = f"{named(metric).heading} {named(metric).arrow}".strip()
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", pad=8)


def _grid(axes: Axes) -> None:
    axes.grid(axis="y", color=COLOURS["line"][0], linewidth=0.6)
    axes.set_axisbelow(True)
    bare(axes, "left", "bottom")
