"""The style of the page's figures, and their output as inline SVG or SVG files.

    spectrum("Rank of detox", [0.5, 0.3, 0.2])             # Markup("<svg …>…</svg>"); the name is for screen readers
    standalone(spectrum("Rank of detox", [0.5, 0.3]))      # the text of an .svg file

Drawn with matplotlib but without pyplot, which keeps global state. Colours are placeholders that become CSS variables,
so that figures follow the page's dark scheme. The same data give the same bytes.
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec

from markupsafe import Markup, escape
from matplotlib import rc_context, rc_params_from_file
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from lm_steer.report.wording import number, printable
from lm_steer.tables.cells import Cell
from lm_steer.tables.metrics import PRICE
from lm_steer.util.files import fingerprint

# The placeholder colours of figures.mplstyle, and the CSS colours they become.
COLOURS = {
    "#010203": "currentColor",
    "#020304": "var(--muted)",
    "#030405": "var(--line)",
    "#040506": "var(--ground)",
    "#050607": "var(--better)",
    "#060708": "var(--worse)",
}
INK, MUTED, LINE, GROUND, BETTER, WORSE = COLOURS
TEMPLATES = Path(__file__).parents[1] / "templates"
STYLE = rc_params_from_file(TEMPLATES / "figures.mplstyle", use_default_template=False)
# For titles of axes that do not show a metric.
PLAIN_TITLE: dict[str, Any] = {"color": MUTED, "fontweight": "normal"}
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
WIDTH = 360
# The height of a line of text in points, and the longest label in characters.
LINE_HEIGHT = 15
LABEL_WIDTH = 54
# Above these ratios of its ends, an axis of perplexity is logarithmic, and only powers of ten have ticks.
WIDE, MANY = 8, 200

P = ParamSpec("P")


@dataclass(frozen=True)
class Point:
    """One setting: its label, metric and perplexity; points on the `line` are joined."""

    label: str
    cell: Cell
    price: Cell | None
    line: bool = False


def as_svg(draw: Callable[P, Figure]) -> Callable[Concatenate[str, P], Markup]:
    """Draw in the style of the page, and return inline SVG.

    The first argument of the result is the figure's name for screen readers, which must be unique on the page.
    """

    @wraps(draw)
    def drawn(name: str, *arguments: P.args, **options: P.kwargs) -> Markup:
        with rc_context(STYLE):
            return _inline(draw(*arguments, **options), name)

    return drawn


def on_axes(
    height: float, box: tuple[float, float, float, float], width: float = WIDTH
) -> Callable[[Callable[Concatenate[Axes, P], None]], Callable[Concatenate[str, P], Markup]]:
    """Like `as_svg`, for a function that draws on one pair of axes at `box` in a figure of fixed size."""

    def decorated(draw: Callable[Concatenate[Axes, P], None]) -> Callable[Concatenate[str, P], Markup]:
        def figure(*arguments: P.args, **options: P.kwargs) -> Figure:
            empty = blank(height, width)
            draw(empty.add_axes(box), *arguments, **options)
            return empty

        return as_svg(figure)

    return decorated


def blank(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure; sizes are in points, which are the SVG's units."""
    return Figure(figsize=(width / 72, height / 72))


def log_if_wide(axes: Axes, side: Literal["x", "y"], metric: str, cells: Sequence[Cell]) -> None:
    """Make an axis of perplexity logarithmic if its values span a wide range."""
    if metric == PRICE and max(cell["high"] for cell in cells) > WIDE * min(cell["low"] for cell in cells):
        axes.set(**{f"{side}scale": "log"})
        axis = axes.xaxis if side == "x" else axes.yaxis
        many = max(cell["high"] for cell in cells) > MANY * min(cell["low"] for cell in cells)
        axis.set_major_locator(LogLocator(10, subs=(1,) if many else (1, 2, 5)))
        axis.set_major_formatter(lambda value, _: number(value, 0) if value < 10_000 else f"{value / 1000:,g}k")
        axis.set_minor_formatter(NullFormatter())


def standalone(svg: Markup) -> str:
    """Return a figure as the text of an SVG file, in the colours of the light page and on its background."""
    light = (TEMPLATES / "page.css").read_text(encoding="utf-8").split("@media")[0]
    colours = dict(re.findall(r"--(\w+): (#\w+);", light))
    text = re.sub(r"var\(--(\w+)\)", lambda match: colours[match[1]], svg).replace("currentColor", colours["ink"])
    text = text.replace("font-family: inherit", "font-family: sans-serif")
    ground = f'<rect width="100%" height="100%" fill="{colours["ground"]}"/>'
    text = re.sub(r"(<svg[^>]*>)", rf"\g<1>{ground}", text, count=1)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{printable(text)}\n'


def _inline(figure: Figure, name: str) -> Markup:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=NO_METADATA)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for stand_in, colour in COLOURS.items():
        svg = svg.replace(stand_in, colour)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    svg = re.sub(r"font: (\d\S* )?([\d.]+px) [^;\"]*", r"font-weight: \1; font-size: \2", svg)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    # Every figure numbers its parts from 1, but ids must be unique on a page.
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>f{fingerprint(name)[:6]}-", svg)
    size = r'<svg([^>]*?) width="[^"]*" height="[^"]*"'
    described = f'role="img" aria-label="{escape(name)}"'
    return Markup(re.sub(size, lambda match: f"<svg{match[1]} {described}", svg, count=1))
