"""Where every result lies within a folder of results. A folder given as a string gives strings, a Path gives Paths.

layout.scores("results", "smollm2", "toxicity")              # "results/scores/smollm2/toxicity.parquet"
layout.table(Path("elsewhere"), "detoxification")            # Path("elsewhere/tables/detoxification.csv")
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

Root = TypeVar("Root", str, Path)
# The place of a model for generations that were made elsewhere.
EXTERNAL = "external"
STEER_FILES = ("steer.safetensors", "steer_config.json", "training.jsonl")


def _below(root: Root, path: str) -> Root:
    return type(root)(f"{root}/{path}")


def model(root: Root, name: str) -> Root:
    """Return the folder of a model, or of a classifier."""
    return _below(root, f"models/{name}")


def texts(root: Root, dataset: str, split: str) -> Root:
    """Return the labelled texts of a split: train, dev or test."""
    return _below(root, f"data/{dataset}/{split}.parquet")


def counts(root: Root, dataset: str) -> Root:
    """Return the counts of a dataset."""
    return _below(root, f"data/{dataset}/counts.json")


def prompts(root: Root, name: str) -> Root:
    """Return a set of prompts."""
    return _below(root, f"prompts/{name}.jsonl")


def steer(root: Root, model: str, name: str, seed: int | str) -> Root:
    """Return the folder of a steer."""
    return _below(root, f"steers/{model}/{name}/seed{seed}")


def steer_files(folder: Root, names: Iterable[str] = STEER_FILES[:2]) -> list[Root]:
    """Return the files of a steer, by default those that others are made of."""
    return [_below(folder, name) for name in names]


def adapter(root: Root, model: str, name: str, seed: int | str) -> Root:
    """Return the folder of a LoRA."""
    return _below(root, f"adapters/{model}/{name}/seed{seed}")


def shard(root: Root, name: str) -> Root:
    """Return the folder of results of a shard."""
    return _below(root, f"shards/{name}")


def generations(root: Root, model: str, seed: int | str, setting: str) -> Root:
    """Return the generations of a setting."""
    return _below(root, f"generations/{model}/seed{seed}/{setting}.jsonl")


def judge(root: Root, scorer: str) -> Root:
    """Return the folder of a judge that is trained here."""
    return _below(root, f"judges/{scorer}")


def scores(root: Root, model: str, scorer: str) -> Root:
    """Return the scores of a model's generations."""
    return _below(root, f"scores/{model}/{scorer}.parquet")


def table(root: Root, name: str) -> Root:
    """Return a table."""
    return _below(root, f"tables/{name}.csv")


def agreement(root: Root, name: str) -> tuple[Root, Root]:
    """Return the table of an agreement, and the scores that it is computed from."""
    return table(root, f"agreement-{name}"), _below(root, f"agreement/{name}.parquet")


def analysis(root: Root, name: str) -> Root:
    """Return the effects of an analysis of settings."""
    return _below(root, f"analyses/{name}.csv")


def analysis_part(root: Root, model: str, name: str, part: str) -> Root:
    """Return one file of an analysis of a model."""
    return _below(root, f"analyses/{model}/{name}.{part}.csv")
