"""Figures of the analyses, as inline SVG in the page's own colours.

sweep([-5, 0, 5], {"positivity": cells, "perplexity": prices}, {}, "Sentiment …")     # Markup("<svg …>…</svg>")
heat_map(xs, ys, values, "detox", "sentiment", "Positive, %", "Two steers …")
"""

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from lm_steer.report.figures import COLOURS, STYLE, WIDTH, apart, bare, blank, inline
from lm_steer.report.wording import number
from lm_steer.tables.cells import Cell
from lm_steer.tables.metrics import named

INK, MUTED, LINE, BETTER, WORSE = (COLOURS[name][0] for name in ("ink", "muted", "line", "better", "worse"))
# Ticks of a logarithmic axis are written out where it spans less than this.
DECADE = 10
WORD_SIZE = 8.5


def heat_map(
    xs: Sequence[float], ys: Sequence[float], values: np.ndarray, x: str, y: str, metric: str, name: str
) -> Markup:
    """Draw a metric on a grid of two steer values: (ys, xs), each cell with its number."""
    digits = named(metric).digits
    low, high = np.nanmin(values), np.nanmax(values)
    with rc_context(STYLE):
        figure = blank(250)
        axes = figure.add_axes((0.15, 0.17, 0.82, 0.7))
        for row, _ in enumerate(ys):
            for column, _ in enumerate(xs):
                value = values[row, column]
                depth = (value - low) / (high - low) if high > low else 0.0
                axes.fill([column - 0.5, column + 0.5, column + 0.5, column - 0.5], [row - 0.5] * 2 + [row + 0.5] * 2,
                          color=BETTER, alpha=0.05 + 0.5 * float(depth), linewidth=0)  # fmt: skip
                axes.text(column, row, number(float(value), digits), ha="center", va="center")
        axes.set(xlim=(-0.5, len(xs) - 0.5), ylim=(-0.5, len(ys) - 0.5), xlabel=x, ylabel=y)
        axes.set_xticks(range(len(xs)), [number(value, 1 if value % 1 else 0) for value in xs])
        axes.set_yticks(range(len(ys)), [number(value, 1 if value % 1 else 0) for value in ys])
        _title(axes, metric)
        bare(axes)
        return inline(figure, name)


def points(labels: Sequence[str], cells: Sequence[Cell], metric: str, name: str) -> Markup:
    """Draw one metric of several settings with their intervals, a line each."""
    with rc_context(STYLE):
        height = 46 + 22 * len(cells)
        figure = blank(height)
        axes = figure.add_axes((0.47, 24 / height, 0.5, 1 - 46 / height))
        for row, cell in enumerate(cells):
            axes.plot([cell["low"], cell["high"]], [row, row], color=BETTER, linewidth=1.8)
            axes.plot(cell["value"], row, "o", color=BETTER, markersize=5)
        axes.set_ylim(len(cells) - 0.5, -0.5)
        axes.set_yticks(range(len(cells)), [label if len(label) < 29 else f"{label[:27]}…" for label in labels])
        axes.tick_params(axis="y", labelcolor=INK)
        if metric == "perplexity":
            _logarithmic(axes.set_xscale, axes.xaxis, [cell["value"] for cell in cells])
        else:
            axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="x", color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        _title(axes, metric)
        bare(axes)
        return inline(figure, name)


def words(listed: Sequence[tuple[str, float, float, bool]], name: str) -> Markup:
    """Draw words in the plane of the first two directions: (word, x, y, whether a positive value raises it)."""
    with rc_context(STYLE):
        figure = Figure(figsize=(1.45 * WIDTH / 72, 1.1 * WIDTH / 72), facecolor="none")
        axes = figure.add_axes((0.1, 0.1, 0.86, 0.88))
        for rule in (axes.axvline, axes.axhline):
            rule(0, color=LINE, linewidth=0.9, zorder=0)
        for _, x, y, raised in listed:
            axes.plot(x, y, "o", color=BETTER if raised else WORSE, markersize=3)
        axes.set(xlabel="first direction", ylabel="second direction")
        axes.margins(0.15)
        places = [(x, y) for _, x, y, _ in listed]
        for (word, x, y, _), up in zip(listed, apart(axes, places, [row[0] for row in listed], WORD_SIZE), strict=True):
            lead = {"arrowstyle": "-", "color": LINE, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2}
            axes.annotate(
                word, (x, y), (5, up), textcoords="offset points", fontsize=WORD_SIZE, va="center", arrowprops=lead
            )
        bare(axes, "left", "bottom")
        return inline(figure, name)


def spectrum(shares: Sequence[float], name: str) -> Markup:
    """Draw the share of Σσ² that the first directions hold together."""
    with rc_context(STYLE):
        figure = blank(180)
        axes = figure.add_axes((0.13, 0.22, 0.85, 0.66))
        axes.plot(range(1, len(shares) + 1), 100 * np.cumsum(shares), "-", color=BETTER, linewidth=1.6)
        axes.set(xlabel="directions, the strongest first", ylim=(0, 103), xscale="log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.set_title("share of Σσ², %", loc="left", fontsize=10.5, color=MUTED)
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        bare(axes, "left", "bottom")
        return inline(figure, name)


def likelihood(values: Sequence[float], log_likelihoods: Sequence[float], reading: float, name: str) -> Markup:
    """Draw the log-likelihood of a text against the steer value, and its top."""
    with rc_context(STYLE):
        figure = blank(165)
        axes = figure.add_axes((0.15, 0.24, 0.83, 0.62))
        axes.plot(values, log_likelihoods, "o-", color=BETTER, markersize=3.5, linewidth=1.6)
        axes.axvline(reading, color=WORSE, linewidth=1.2)
        axes.set_xlabel("steer value")
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.set_title("log-likelihood of the text, nats", loc="left", fontsize=10.5, color=MUTED)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="y", color=LINE, linewidth=0.6)
        bare(axes, "left", "bottom")
        return inline(figure, name)


def token_bars(pieces: Sequence[str], scores: Sequence[float], name: str) -> Markup:
    """Draw each token's evidence, in nats, one below the other."""
    with rc_context(STYLE):
        height = 34 + 13 * len(pieces)
        figure = blank(height)
        axes = figure.add_axes((0.3, 22 / height, 0.68, 1 - 24 / height))
        axes.barh(range(len(scores)), scores, color=[BETTER if score > 0 else WORSE for score in scores], height=0.7)
        axes.set_yticks(range(len(pieces)), [piece.strip() or "·" for piece in pieces], fontsize=9)
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(pieces) - 0.5, -0.5)
        axes.axvline(0, color=MUTED, linewidth=0.9)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="x", color=LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        bare(axes)
        return inline(figure, name)


def _title(axes: Axes, metric: str) -> None:
    title = f"{named(metric).heading} {named(metric).arrow}".strip()
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", pad=6)


def _logarithmic(set_scale, axis, values: Sequence[float]) -> None:  # noqa: ANN001
    """Perplexity spans orders of magnitude; within one, all ticks are written out."""
    whole = [value for value in values if math.isfinite(value) and value > 0]
    if not whole:
        return
    set_scale("log")
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_formatter(ScalarFormatter() if max(whole) < DECADE * min(whole) else NullFormatter())
    axis.get_minor_locator().set_params(subs=(2, 5))
