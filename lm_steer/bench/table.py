"""The tables of `lm-steer bench`, for people."""

from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table


def table(found: dict[str, Any]) -> str:
    """Return the document of `bench` as a table: costs, their ratios, and the memory that the model needs."""
    machine = found["machine"]
    grid = Table(
        title=f"{found['model']}, {found['dtype']}, {found['hardware']}",
        caption=f"limit: {machine['flops'] / 1e12:.3g} TFLOP/s in a matrix product, "
        f"{machine['bandwidth'] / 1e9:.3g} GB/s in a copy",
    )
    for name in ("", "ours", "with warm-up", "steered", "known states", "plain", "single", "limit"):
        grid.add_column(name, justify="right" if name else "left")
    grid.add_column("plain / ours", justify="right")
    grid.add_column("ours / limit", justify="right")
    grid.add_column("peak", justify="right")
    grid.add_column("peak of plain", justify="right")
    for row in found["rows"]:
        costs = (row[key] for key in ("ours", "first", "steered", "known", "plain", "single", "limit"))
        grid.add_row(
            f"{row['work']}, ms per {row['unit']}",
            *(f"{1000 * cost:.3g}" if cost is not None else "–" for cost in costs),
            f"{row['plain'] / row['ours']:.2f}",
            f"{row['ours'] / row['limit']:.2f}",
            f"{row['peak'] / 1e9:.2f} GB",
            f"{row['plain_peak'] / 1e9:.2f} GB",
        )
    return _printed(grid) + "\n" + _printed(memory_table({found["model"]: found["memory"]}))


def memory_table(needs: dict[str, dict[str, int]]) -> Table:
    """Return what models need by their shapes (memory.Requirements as a mapping)."""
    grid = Table(title="memory by shape")
    for name in ("", "parameters", "weights", "cache per token", "logits per row", "training in total"):
        grid.add_column(name, justify="right" if name else "left")
    for name, need in needs.items():
        grid.add_row(
            name,
            f"{need['parameters'] / 1e6:.0f} M",
            f"{need['weights'] / 1e9:.2f} GB",
            f"{need['cache_per_token'] / 1e3:.0f} kB",
            f"{need['logits_per_row'] / 1e6:.2f} MB",
            f"{need['training'] / 1e9:.2f} GB",
        )
    return grid


def _printed(grid: Table) -> str:
    # As wide as it needs, wherever it is printed.
    page = StringIO()
    Console(file=page, width=240).print(grid)
    return page.getvalue().rstrip()
