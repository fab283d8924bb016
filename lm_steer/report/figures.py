"""The page's figures, as inline SVG in the page's own colours, and as files of their own.

    effects(rows, "avg_max_toxicity", "Differences …")     # Markup("<svg …>…</svg>")
    standalone(loss_curves([log], "Loss of …"))            # the text of an .svg file

Drawn by matplotlib without pyplot, so that no state is left behind. Colours are stand-ins that become CSS
variables: a figure follows the page into its dark scheme. The same data give the same bytes.
"""

import io
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lm_steer.report.wording import compared, direction, number, signed, verdict
from lm_steer.tables.cells import Cell
from lm_steer.tables.metrics import PRICE, named
from lm_steer.util.files import fingerprint

# What matplotlib is told, and what the page makes of it.
COLOURS = {
    "ink": ("#010203", "currentColor"),
    "muted": ("#020304", "var(--muted)"),
    "line": ("#030405", "var(--line)"),
    "ground": ("#040506", "var(--ground)"),
    "better": ("#050607", "var(--better)"),
    "worse": ("#060708", "var(--worse)"),
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lm-steer",
    "font.family": ["DejaVu Sans"],
    "font.size": 10.5,
    "text.color": COLOURS["ink"][0],
    "text.parse_math": False,
    "axes.edgecolor": COLOURS["line"][0],
    "axes.labelcolor": COLOURS["muted"][0],
    "xtick.color": COLOURS["muted"][0],
    "ytick.color": COLOURS["muted"][0],
}
PAGE_CSS = Path(__file__).parent / "templates/page.css"
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
WIDTH = 360
LINE = 15
INTERVAL = 24
MARK = 9  # below its label, and so nearer to it than to the next one
LABEL_WIDTH = 54
LABEL_GROUND = {"facecolor": COLOURS["ground"][0], "edgecolor": "none", "pad": 1}
MARKS = {"better": "better", "worse": "worse", "other": "ink", "none": "muted"}


@dataclass(frozen=True)
class Effect:
    """One row of the figure of effects: what was done, what it changed, and what that cost in perplexity."""

    label: str
    effect: Cell
    price: Cell | None


def effects(rows: Sequence[Effect], metric: str, name: str) -> Markup:
    """Draw paired differences to unsteered with their intervals: the metric on the left, perplexity on the right.

    Hollow marks: the interval holds 0. `name` is what a screen reader says, and must differ between figures.
    """
    labels = [textwrap.wrap(row.label, LABEL_WIDTH) or [""] for row in rows]
    heights = [LINE * len(lines) + INTERVAL for lines in labels]
    top, bottom = 30, 26
    height = top + sum(heights) + bottom
    with rc_context(STYLE):
        figure = blank(height)
        has_price = any(row.price for row in rows)
        widths = [(0.02, 0.45), (0.53, 0.45)] if has_price else [(0.02, 0.96)]
        columns = [figure.add_axes((left, bottom / height, width, sum(heights) / height)) for left, width in widths]
        starts = np.cumsum([0, *heights])[:-1]
        for axes, shown in zip(columns, (metric, PRICE), strict=False):
            cells = [row.effect if shown == metric else row.price for row in rows]
            _intervals(axes, cells, [start + h - INTERVAL + MARK for start, h in zip(starts, heights, strict=True)])
            _value_axis(axes, sum(heights), named(shown).digits, ticks=6 // len(widths))
            title = f"{named(shown).heading} {named(shown).arrow}".strip()
            axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", pad=8)
        for start, lines in zip(starts, labels, strict=True):
            for number_, line in enumerate(lines):
                y = 1 - (top + start + LINE * (number_ + 1) - 2) / height
                figure.text(0.02, y, line, va="baseline", bbox=LABEL_GROUND)
        return inline(figure, name)


def loss_curves(logs: Sequence[list[dict[str, Any]]], name: str) -> Markup:
    """Draw the training loss (faint, and smoothed) and the dev loss (points), one log a seed."""
    with rc_context(STYLE):
        figure = blank(215)
        axes = figure.add_axes((0.1, 0.19, 0.88, 0.7))
        for log in logs:
            steps, losses = _series(log, "loss")
            axes.plot(steps, losses, color=COLOURS["better"][0], alpha=0.25, linewidth=0.8)
            axes.plot(steps, _smoothed(losses), color=COLOURS["better"][0], linewidth=1.6)
            at, dev = _series(log, "dev_loss")
            axes.plot(at, dev, "o", color=COLOURS["worse"][0], markersize=4)
        axes.plot([], [], color=COLOURS["better"][0], label="training")
        axes.plot([], [], "o", color=COLOURS["worse"][0], markersize=4, label="dev")
        axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 0.97), borderpad=0, borderaxespad=0)
        axes.set_xlabel("step")
        axes.set_title("loss, nats a token", loc="left", fontsize=10.5, color=COLOURS["muted"][0])
        bare(axes, "left", "bottom")
        axes.grid(axis="y", color=COLOURS["line"][0], linewidth=0.6)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        return inline(figure, name)


def scatter(first: Sequence[float], second: Sequence[float], labels: tuple[str, str], name: str) -> Markup:
    """Draw two scores in [0, 1] of the same texts against each other, with lines at .5 and where both are equal."""
    with rc_context(STYLE):
        figure = blank(WIDTH)
        axes = figure.add_axes((0.12, 0.12, 0.85, 0.85))
        axes.plot([0, 1], [0, 1], color=COLOURS["line"][0], linewidth=0.9, zorder=0)
        for draw in (axes.axvline, axes.axhline):
            draw(0.5, color=COLOURS["line"][0], linewidth=0.9, linestyle=(0, (3, 3)), zorder=0)
        axes.plot(first, second, "o", color=COLOURS["better"][0], alpha=0.35, markersize=3, markeredgewidth=0)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=labels[0], ylabel=labels[1])
        bare(axes, "left", "bottom")
        return inline(figure, name)


def _intervals(axes: Axes, cells: Sequence[Cell | None], places: Sequence[float]) -> None:
    for cell, y in zip(cells, places, strict=True):
        if cell is None or not compared(cell):
            continue
        colour = COLOURS[MARKS[verdict(cell)]][0]
        fill = colour if direction(cell) else COLOURS["ground"][0]
        axes.plot([cell["difference_low"], cell["difference_high"]], [y, y], color=colour, linewidth=1.8)
        axes.plot(cell["difference"], y, "o", color=colour, markerfacecolor=fill, markersize=5.5)


def _value_axis(axes: Axes, height: float, digits: int, ticks: int) -> None:
    """The horizontal axis in whole figures, the vertical one in points from the top; 0 is always seen."""
    low, high = axes.get_xlim() if axes.lines else (-1.0, 1.0)
    least = 2 * 10**-digits  # so that ticks differ in the digits shown
    low, high = min(low, -least), max(high, least)
    axes.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    axes.set_ylim(height, 0)
    axes.axvline(0, color=COLOURS["muted"][0], linewidth=0.9, zorder=0)
    axes.grid(axis="x", color=COLOURS["line"][0], linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(ticks))
    step = abs(np.diff(axes.get_xticks()[:2])[0])
    decimals = min(digits, max(0, -math.floor(math.log10(step) + 1e-9)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value, decimals) if value else number(0, 0)))
    bare(axes)


def bare(axes: Axes, *kept: str) -> None:
    """Leave of the frame the named sides alone."""
    axes.set_facecolor("none")
    axes.tick_params(length=0, pad=4)
    for side, spine in axes.spines.items():
        spine.set_visible(side in kept)


def blank(height: float) -> Figure:
    """A figure of the common width, in points, which are the SVG's units."""
    return Figure(figsize=(WIDTH / 72, height / 72), facecolor="none")


def apart(axes: Axes, places: Sequence[tuple[float, float]], labels: Sequence[str], size: float) -> list[float]:
    """Return how many points up each label goes from its place, so that none lies over another; axes are final."""
    axes.autoscale_view()  # limits are set lazily, and places are measured by them
    figure = axes.get_figure(root=True)
    assert figure is not None
    points = axes.transData.transform(places) * 72 / figure.get_dpi()
    widths, height = [0.55 * size * len(label) for label in labels], 1.1 * size
    placed: list[tuple[float, float, float]] = []
    up = [0.0] * len(labels)
    for index in np.argsort(points[:, 1], kind="stable"):
        left, level = points[index]
        for start, end, taken in sorted(placed, key=lambda label: label[2]):
            if start < left + widths[index] and left < end and abs(level - taken) < height:
                level = taken + height
        placed.append((left, left + widths[index], level))
        up[index] = float(level - points[index, 1])
    return up


def _series(log: list[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    rows = [row for row in log if key in row]
    return [row["step"] for row in rows], [row[key] for row in rows]


def _smoothed(values: Sequence[float]) -> np.ndarray:
    """Mean over a window of a tenth of the steps; shorter at both ends."""
    window = np.ones(max(1, len(values) // 10))
    if not len(values):
        return np.array([])
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def printable(text: str) -> str:
    """Return a document without the control characters and halves of surrogate pairs that HTML and XML forbid."""
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)


def standalone(svg: Markup) -> str:
    """Return a figure of the page as the text of a file: in the colours of the light page, on its ground."""
    light = PAGE_CSS.read_text(encoding="utf-8").split("@media")[0]
    colours = dict(re.findall(r"--(\w+): (#\w+);", light))
    text = re.sub(r"var\(--(\w+)\)", lambda match: colours[match[1]], svg).replace("currentColor", colours["ink"])
    text = text.replace("font-family: inherit", "font-family: sans-serif")
    ground = f'<rect width="100%" height="100%" fill="{colours["ground"]}"/>'
    text = re.sub(r"(<svg[^>]*>)", rf"\g<1>{ground}", text, count=1)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{printable(text)}\n'


def inline(figure: Figure, name: str) -> Markup:
    """Return a figure as SVG for the page; `name` is what a screen reader says."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=NO_METADATA)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for stand_in, colour in COLOURS.values():
        svg = svg.replace(stand_in, colour)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    svg = re.sub(r"font: (\d\S* )?([\d.]+px) [^;\"]*", r"font-weight: \1; font-size: \2", svg)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    # Every figure numbers its parts from 1; on one page their names must differ.
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>f{fingerprint(name)[:6]}-", svg)
    size = r'<svg([^>]*?) width="[^"]*" height="[^"]*"'
    described = f'role="img" aria-label="{escape(name)}"'
    return Markup(re.sub(size, lambda match: f"<svg{match[1]} {described}", svg, count=1))
