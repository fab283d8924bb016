"""What a steer costs: parameters, training seconds, bytes, and decoding time relative to the plain model.

    lm-steer analyse cost --model results/models/smollm2 --steer results/steers/smollm2/detox/seed0 \\
        --at detox=5 --training results/benchmarks/train/smollm2.detox.seed0.tsv -o results/analyses/cost.csv

Decoding is timed in rounds, plain, hooked and folded in turn, so that changes in the machine's speed affect all three
alike; ratios are medians over rounds, with the lowest and the highest.
"""

import math
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch

from lm_steer.core.attach import attach
from lm_steer.core.fold import fold
from lm_steer.core.steer import Steer
from lm_steer.generation.continuations import continuations
from lm_steer.generation.nucleus import Sampling
from lm_steer.model.load import LoadedModel
from lm_steer.util.errors import LMSteerError
from lm_steer.util.formats import read_benchmark, write_csv
from lm_steer.util.progress import Progress

ROUNDS = 5
PROMPTS = [f"{start} {middle}" for start in ("The film", "She said", "We think", "A day") for middle in ("is", "and")]
PUBLISHED = {"parameters": 1.6e6, "decode_hooked": 1.24}


def write_cost(
    loaded: LoadedModel, steer: Steer, values: Mapping[str, float], training: Path | None, output: Path
) -> None:
    """Write the costs of a steer, one per line, with the paper's figure if it has one.

    training    the benchmark file of the training, written by Snakemake
    """
    rows = list(sizes(steer).items())
    if training:
        seconds = read_benchmark(training)["s"]
        if not math.isfinite(seconds):
            raise LMSteerError(f"{training} has no time in its column 's': train the steer again")
        rows.append(("training_seconds", seconds))
    lines = [{"figure": name, "value": value, "low": value, "high": value} for name, value in rows]
    lines += [{"figure": name, **spread} for name, spread in decode_ratios(loaded, steer, values).items()]
    frame = pd.DataFrame(lines)
    write_csv(output, frame.assign(published=frame["figure"].map(PUBLISHED)))


def sizes(steer: Steer) -> dict[str, float]:
    """Return parameters and bytes: 2 · hidden · rank per dimension for `multiply` (the paper counts hidden²)."""
    count = sum(weight.numel() for weight in steer.weights.values())
    return {
        "parameters": count,
        "parameters_a_dimension": count / len(steer.dimensions),
        "bytes": sum(weight.numel() * weight.element_size() for weight in steer.weights.values()),
    }


def decode_ratios(loaded: LoadedModel, steer: Steer, values: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return the generation time with the steer hooked and folded, as ratios to the plain model's."""
    head = loaded.model.get_output_embeddings()
    folded = fold(loaded.model, steer, values) if isinstance(head, torch.nn.Linear) else None
    loaded.model.set_output_embeddings(head)
    rounds: list[dict[str, float]] = []
    with Progress("time decoding", ROUNDS + 1, "round") as progress:
        for _ in range(ROUNDS + 1):
            plain = _seconds(loaded)
            with attach(loaded.model, steer) as handle, handle.at(values):
                rounds.append({"decode_hooked": _seconds(loaded) / plain})
            if folded is not None:
                loaded.model.set_output_embeddings(folded)
                rounds[-1]["decode_folded"] = _seconds(loaded) / plain
                loaded.model.set_output_embeddings(head)
            progress.advance()
    # The first round only warms up caches.
    ratios = pd.DataFrame(rounds[1:]).agg(["median", "min", "max"]).to_dict()
    return {name: dict(zip(("value", "low", "high"), each.values(), strict=True)) for name, each in ratios.items()}


def _seconds(loaded: LoadedModel) -> float:
    start = time.perf_counter()
    continuations(loaded, PROMPTS, Sampling(samples=2, new_tokens=16), "to time it")
    return time.perf_counter() - start
