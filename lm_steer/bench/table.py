"""Format the results of `lm-steer bench` as text tables."""

from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table


def table(results: dict[str, Any]) -> str:
    """Return the document of `bench` as tables: costs, their ratios, and the memory that the model needs."""
    limit, need, tokens = results["machine"], results["memory"], results["load"]["new_tokens"]
    costs = _grid(
        f"{results['model']}, {results['dtype']}, {results['hardware']}",
        *("ours", "with warm-up", "steered", "known states", "plain", "single", "limit"),
        *("plain / ours", "ours / limit", "peak", "peak of plain"),
    )
    costs.caption = (
        f"limit: {limit['flops'] / 1e12:.3g} TFLOP/s in a matrix product, {limit['bandwidth'] / 1e9:.3g} GB/s in a copy"
    )
    for row in results["rows"]:
        each = (row[key] for key in ("ours", "first", "steered", "known", "plain", "single", "limit"))
        costs.add_row(
            f"{row['work']}, ms per {row['unit']}",
            *(f"{1000 * cost:.3g}" if cost is not None else "–" for cost in each),
            f"{row['plain'] / row['ours']:.2f}" if row["plain"] else "–",
            f"{row['ours'] / row['limit']:.2f}",
            f"{row['peak'] / 1e9:.2f} GB",
            f"{row['plain_peak'] / 1e9:.2f} GB" if row["plain_peak"] else "–",
        )
    sampling = _grid("sampling", "tokens per second", "time relative to lm-steer")
    sampled = results["rows"][0]
    ways = {
        "lm-steer": sampled["ours"],
        "lm-steer, steered": sampled["steered"],
        f"vLLM {results['vllm']}": sampled["vllm"],
        "transformers, batched": sampled["plain"],
        "transformers, one text at a time": sampled["single"],
    }
    for way, cost in ways.items():
        if cost is not None:
            sampling.add_row(way, f"{tokens / cost:,.0f}", f"{cost / sampled['ours']:.2f}")
    headings = ("parameters", "weights", "cache per token", "logits per row", "training in total")
    memory = _grid("memory by shape", *headings)
    memory.add_row(
        results["model"],
        f"{need['parameters'] / 1e6:.0f} M",
        f"{need['weights'] / 1e9:.2f} GB",
        f"{need['cache_per_token'] / 1e3:.0f} kB",
        f"{need['logits_per_row'] / 1e6:.2f} MB",
        f"{need['training'] / 1e9:.2f} GB",
    )
    # Not limited to the width of the terminal.
    page = StringIO()
    Console(file=page, width=240).print(costs, sampling, memory, sep="\n")
    return page.getvalue().rstrip()


def _grid(title: str, *headings: str) -> Table:
    grid = Table("", title=title)
    for heading in headings:
        grid.add_column(heading, justify="right")
    return grid
