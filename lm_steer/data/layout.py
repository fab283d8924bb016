"""The path of every result in a folder of results, as a string or Path like the folder's.

layout.scores("results", "smollm2", "toxicity")              # "results/scores/smollm2/toxicity.parquet"
layout.table(Path("elsewhere"), "detoxification")            # Path("elsewhere/tables/detoxification.csv")
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Root = TypeVar("Root", str, Path)
# Takes the place of a model for generations made elsewhere.
EXTERNAL = "external"
STEER_FILES = ("steer.safetensors", "steer_config.json", "training.jsonl")


@dataclass(frozen=True)
class Place:
    """The place of one kind of result: call it with a folder of results and the names in braces, in that order."""

    pattern: str

    def __call__(self, root: Root, *names: int | str) -> Root:
        """Return the path of one result."""
        named = dict(zip(re.findall(r"{(\w+)}", self.pattern), names, strict=True))
        return type(root)(f"{root}/{self.pattern.format_map(named)}")


model = Place("models/{model}")  # a folder; of a classifier as well
texts = Place("data/{dataset}/{split}.parquet")
counts = Place("data/{dataset}/counts.json")
prompts = Place("prompts/{prompts}.jsonl")
steer = Place("steers/{model}/{steer}/seed{seed}")  # a folder
adapter = Place("adapters/{model}/{adapter}/seed{seed}")  # a folder
shard = Place("shards/{shard}")  # itself a folder of results
generations = Place("generations/{model}/seed{seed}/{setting}.jsonl")
judge = Place("judges/{scorer}")  # a folder
scores = Place("scores/{model}/{scorer}.parquet")
table = Place("tables/{table}.csv")
agreement_table = Place("tables/agreement-{agreement}.csv")
agreement_scores = Place("agreement/{agreement}.parquet")  # what its table is computed from
analysis = Place("analyses/{analysis}.csv")  # computed from all its settings
analysis_part = Place("analyses/{model}/{analysis}.{part}.csv")


def steer_files(folder: Root, names: Iterable[str] = STEER_FILES[:2]) -> list[Root]:
    """Return files of a steer, by default those that other results are made from."""
    return [type(folder)(f"{folder}/{name}") for name in names]
