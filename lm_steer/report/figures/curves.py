"""Curves: metrics over the steer value, losses over steps, shares of the first directions, likelihood of a text.

value_curves("Sentiment …", [-5, 0, 5], {"positivity": cells}, "sentiment")       # Markup
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from lm_steer.report.figures import style
from lm_steer.report.wording import title_of, value_text
from lm_steer.tables.cells import Cell, is_published
from lm_steer.tables.metrics import PRICE

# Up to this many steer values have a tick each.
MARKED = 6


@style.as_svg
def value_curves(values: Sequence[float], cells: Mapping[str, Sequence[Cell | None]], axis: str) -> Figure:
    """Draw each metric of `cells` (one cell or None per value) against the steer value."""
    figure = style.blank(215)
    width = 1 / len(cells)
    for place, (metric, row) in enumerate(cells.items()):
        axes = figure.add_axes((width * place + 0.115 * width**0.5, 0.2, width - 0.18 * width**0.5, 0.66))
        measured = {value: cell for value, cell in zip(values, row, strict=True) if cell}
        low, middle, high = ([cell[key] for cell in measured.values()] for key in ("low", "value", "high"))
        colour = style.WORSE if metric == PRICE else style.BETTER
        axes.fill_between(list(measured), low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(list(measured), middle, "o-", color=colour, markersize=4)
        published = {value: float(cell["published"]) for value, cell in measured.items() if is_published(cell)}
        if published:
            places = list(published), list(published.values())
            axes.plot(*places, "D", color=style.INK, markerfacecolor="none", label="as published")
            axes.legend(loc="best")
        if len(values) <= MARKED:
            axes.set_xticks(values, [value_text(value) for value in values])
        else:
            axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        style.log_if_wide(axes, "y", metric, list(measured.values()))
        axes.set_xlabel(axis)
        axes.set_title(title_of(metric))
        axes.grid(axis="y")
    return figure


@style.on_axes(215, (0.1, 0.19, 0.88, 0.7))
def loss_curves(axes: Axes, logs: Sequence[list[dict[str, Any]]]) -> None:
    """Draw the training loss (faint, and smoothed) and the dev loss (points), one log per seed."""
    for log in logs:
        frame = pd.DataFrame(log, columns=["step", "loss", "dev_loss"]).set_index("step")
        training, dev = frame["loss"].dropna(), frame["dev_loss"].dropna()
        axes.plot(training, alpha=0.25, linewidth=0.8)
        axes.plot(training.rolling(max(1, len(training) // 10), center=True, min_periods=1).mean())
        axes.plot(dev, "o", color=style.WORSE, markersize=4)
    axes.plot([], [], label="training")
    axes.plot([], [], "o", color=style.WORSE, markersize=4, label="dev")
    axes.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 0.97), borderpad=0, borderaxespad=0)
    axes.set_xlabel("step")
    axes.set_title("loss, nats per token", **style.PLAIN_TITLE)
    axes.grid(axis="y")
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


@style.on_axes(180, (0.13, 0.22, 0.85, 0.66))
def spectrum(axes: Axes, shares: Sequence[float]) -> None:
    """Draw the cumulative share of Σσ² over directions."""
    axes.plot(range(1, len(shares) + 1), 100 * np.cumsum(shares))
    axes.set(xlabel="directions, strongest first", ylim=(0, 103), xscale="log")
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title("share of Σσ², %", **style.PLAIN_TITLE)
    axes.grid(axis="y")


@style.on_axes(165, (0.2, 0.24, 0.78, 0.62))
def likelihood(axes: Axes, values: Sequence[float], log_likelihoods: Sequence[float], reading: float) -> None:
    """Draw the log-likelihood of a text against the steer value, with a line at its maximum."""
    axes.plot(values, log_likelihoods, "o-", markersize=3.5)
    axes.axvline(reading, color=style.WORSE, linewidth=1.2)
    axes.set_xlabel("steer value")
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.set_title("log-likelihood of the text, nats", **style.PLAIN_TITLE)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="y")
