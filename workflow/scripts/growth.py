"""Measure how time and memory grow with the number of prompts, samples and tokens, the rank and the vocabulary.

OMP_NUM_THREADS=1 python workflow/scripts/growth.py growth.svg          # prints a table in Markdown, in minutes
"""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lm_steer.bench.measure import Cost, measure
from lm_steer.bench.run import DIMENSIONS, Load, texts
from lm_steer.bench.shapes import random_model
from lm_steer.generation.continuations import continuations
from lm_steer.generation.nucleus import Sampling
from lm_steer.model.load import LoadedModel
from lm_steer.training.learn import LabelledTexts, Recipe, learn
from lm_steer.util.files import replacing
from lm_steer.util.progress import say

SHAPE = "pythia-70m"
LOAD = Load(
    prompts=20, samples=8, prompt_tokens=12, new_tokens=4, top_p=0.9, steps=2, batch=8, text_tokens=32, rank=1000
)


@dataclass(frozen=True)
class Point:
    """One measurement: what was varied, at which size, and its cost."""

    quantity: str
    size: int
    seconds: float
    peak: int


def growth(make: Callable[[int | None], LoadedModel], load: Load) -> list[Point]:
    """Measure each quantity at four sizes around `load`; `make` returns the model, given a vocabulary size or None."""
    loaded = make(None)
    points = []

    def note(quantity: str, size: int, cost: Cost) -> None:
        say(f"growth: {quantity} {size}: {cost.seconds:.2f} s, {cost.peak / 1e6:.0f} MB")
        points.append(Point(quantity, size, cost.seconds, cost.peak))

    # A warm-up for everything that is set up in the first run.
    _sampled(loaded, replace(load, new_tokens=2))
    for factor in (1, 2, 4, 8):
        size = load.prompts * factor
        note("prompts", size, _sampled(loaded, replace(load, prompts=size)))
    for factor in (1, 2, 4, 8):
        size = load.samples * factor
        note("samples per prompt", size, _sampled(loaded, replace(load, samples=size)))
    for factor in (1, 2, 4, 8):
        size = load.new_tokens * factor // 2
        note("new tokens", size, _sampled(loaded, replace(load, new_tokens=size)))
    for size in (16, 64, 256, 1024):
        note("rank", size, _trained(loaded, replace(load, rank=size)))
    for factor in (1, 2, 4, 8):
        size = load.steps * load.batch * factor
        note("training texts", size, _trained(loaded, replace(load, steps=load.steps * factor)))
    for size in (8192, 16384, 32768, 65536):
        note("vocabulary", size, _sampled(make(size), load))
    return points


def plot(points: list[Point], title: str, path: Path) -> None:
    """Draw seconds and peak memory against each quantity, both axes from zero, as an SVG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    quantities = list(dict.fromkeys(point.quantity for point in points))
    figure, axes = pyplot.subplots(2, -(-len(quantities) // 2), figsize=(11, 6), layout="constrained")
    for axis, quantity in zip(axes.flat, quantities, strict=False):
        chosen = [point for point in points if point.quantity == quantity]
        sizes = [point.size for point in chosen]
        axis.plot(sizes, [point.seconds for point in chosen], "o-", color="tab:blue", label="seconds")
        axis.set(xlabel=quantity, ylabel="seconds", xlim=(0, None), ylim=(0, None))
        memory = axis.twinx()
        memory.plot(sizes, [point.peak / 1e9 for point in chosen], "s--", color="tab:orange", label="peak memory")
        memory.set(ylabel="peak memory, GB", ylim=(0, 1.2 * max(point.peak for point in points) / 1e9))
    lines = [*axes.flat[0].lines, *figure.axes[len(axes.flat)].lines]
    figure.legend(handles=lines, loc="outside lower center", ncols=2)
    figure.suptitle(title)
    # Without a date or random ids, so that the same numbers give the same file; text stays text.
    with replacing(path) as temporary, pyplot.rc_context({"svg.hashsalt": "growth", "svg.fonttype": "none"}):
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def _sampled(loaded: LoadedModel, load: Load) -> Cost:
    prompts = texts(loaded, load.prompts, load.prompt_tokens, seed=0)
    sampling = Sampling(load.samples, load.new_tokens, load.top_p)
    return measure(lambda: continuations(loaded, prompts, sampling, "growth"), loaded.device)


def _trained(loaded: LoadedModel, load: Load) -> Cost:
    count = load.steps * load.batch
    labelled = LabelledTexts(texts(loaded, count, load.text_tokens, seed=1), [1.0] * count)
    recipe = Recipe(DIMENSIONS, rank=load.rank, steps=load.steps, batch_size=load.batch)
    few = LabelledTexts(labelled.texts[:1], labelled.labels[:1])
    with tempfile.TemporaryDirectory() as cache:
        return measure(lambda: learn(loaded, labelled, few, recipe, cache), loaded.device)


def main() -> None:
    """Measure, draw and print the table."""
    points = growth(lambda vocabulary: random_model(SHAPE, **({"vocab_size": vocabulary} if vocabulary else {})), LOAD)
    plot(points, f"{SHAPE}, float32", Path(sys.argv[1]))
    print("| quantity | size | seconds | seconds per thousand | peak memory, GB |\n|---|---|---|---|---|")
    for point in points:
        rate = 1000 * point.seconds / point.size
        print(f"| {point.quantity} | {point.size} | {point.seconds:.2f} | {rate:.3g} | {point.peak / 1e9:.2f} |")


if __name__ == "__main__":
    main()
