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
            f"{row['plain'] / row['ours']:.2f}" if row["plain"] else "–",
            f"{row['ours'] / row['limit']:.2f}",
            f"{row['peak'] / 1e9:.2f} GB",
            f"{row['plain_peak'] / 1e9:.2f} GB" if row["plain_peak"] else "–",
        )
    tables = grid, throughput(found), memory_table({found["model"]: found["memory"]})
    return "\n".join(map(_printed, tables))


def throughput(found: dict[str, Any]) -> Table:
    """Return the tokens sampled per second, each way, and its time relative to ours."""
    row, tokens = found["rows"][0], found["load"]["new_tokens"]
    ways = {
        "lm-steer": row["ours"],
        "lm-steer, steered": row["steered"],
        f"vLLM {found['vllm']}": row["vllm"],
        "transformers, batched": row["plain"],
        "transformers, one text at a time": row["single"],
    }
    grid = Table(title="sampling")
    for name in ("", "tokens per second", "time relative to lm-steer"):
        grid.add_column(name, justify="right" if name else "left")
    for way, cost in ways.items():
        if cost is not None:
            grid.add_row(way, f"{tokens / cost:,.0f}", f"{cost / row['ours']:.2f}")
    return grid


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
