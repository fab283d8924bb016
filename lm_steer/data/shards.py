"""Shards: consecutive parts of the prompts, each generated or scored by its own job, then joined in order.

    lm-steer generate … --prompts prompts.jsonl --shard 2-of-4 -o results/shards/2-of-4/out.jsonl
    lm-steer gather results/out.jsonl --shards 4 --folder results

A continuation depends on its prompt and the seed, and a score on its text, so that what is joined is the same for any
number of shards.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import read_jsonl, reading, replacing
from lm_steer.util.options import MOST_SHARDS


@dataclass(frozen=True)
class Shard:
    """Part `number` (from 1) of `count`."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `2-of-4`; LMSteerError where it is none."""
        found = re.fullmatch("([0-9]{1,5})-of-([0-9]{1,5})", text)
        if not (found and 1 <= int(found[1]) <= int(found[2]) <= MOST_SHARDS):
            raise LMSteerError(f"{text!r} is not a shard: write 2-of-4 for the second of four")
        return cls(int(found[1]), int(found[2]))

    def of(self, total: int) -> slice:
        """Return which of `total` things belong to this shard; possibly none."""
        return slice(total * (self.number - 1) // self.count, total * self.number // self.count)


WHOLE = Shard()


def gather(outputs: Sequence[Path], folder: Path, count: int) -> None:
    """Join FOLDER/shards/{number}-of-{count}/PATH to FOLDER/PATH for each output below FOLDER: lines, or scores."""
    for output in outputs:
        if not output.is_relative_to(folder):
            raise LMSteerError(f"{output} is not in {folder}: name files of the folder that has their shards")
    shards = [folder / "shards" / f"{number}-of-{count}" for number in range(1, count + 1)]
    made_of = {output: [shard / output.relative_to(folder) for shard in shards] for output in outputs}
    # All of them, before the first is joined.
    for part in chain(*made_of.values()):
        if not part.exists():
            raise LMSteerError(f"{part}: no such file: make this shard first")
    for output, parts in made_of.items():
        join = _join_scores if output.suffix == ".parquet" else _join_lines
        with replacing(output) as temporary:
            join(parts, temporary)


def _join_lines(parts: Sequence[Path], output: Path) -> None:
    with open(output, "wb") as joined:
        for part in parts:
            # One that was cut off would make a broken line of its last and the next one's first.
            if read_jsonl(part):
                joined.write(part.read_bytes().rstrip() + b"\n")


def _join_scores(parts: Sequence[Path], output: Path) -> None:
    """Join tables of scores (score/run.py): a file's rows stand together, in the order of its prompts."""
    import pyarrow.parquet as pq

    # The last shard of any number of prompts has one, so its table names every file.
    with reading(parts[-1], "a table of scores"):
        files = pq.read_table(parts[-1], columns=["file"])["file"].unique().to_pylist()
        schema = pq.read_schema(parts[-1])
    with pq.ParquetWriter(output, schema) as writer:
        for file in files:
            for part in parts:
                with reading(part, "a table of scores like those of the other shards"):
                    writer.write_table(pq.read_table(part, filters=[("file", "=", file)]))
