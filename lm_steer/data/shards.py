"""Shards: consecutive parts of the prompts, each generated or scored by its own job, then joined in order.

    lm-steer generate … --prompts prompts.jsonl --shard 2-of-4 -o results/shards/2-of-4/out.jsonl
    lm-steer gather results/out.jsonl --shards 4 --folder results

A continuation depends only on its prompt and the seed, and a score on its text, so that the joined file is the same for
any number of shards.
"""

import os
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
        """Read `2-of-4`; LMSteerError for any other form."""
        match = re.fullmatch("([0-9]{1,5})-of-([0-9]{1,5})", text)
        if not (match and 1 <= int(match[1]) <= int(match[2]) <= MOST_SHARDS):
            raise LMSteerError(f"{text!r} is not a shard: write 2-of-4 for the second of four")
        return cls(int(match[1]), int(match[2]))

    def of(self, total: int) -> slice:
        """Return which of `total` things belong to this shard; possibly none."""
        return slice(total * (self.number - 1) // self.count, total * self.number // self.count)


WHOLE = Shard()


def gather(outputs: Sequence[Path], folder: Path, count: int) -> None:
    """Join FOLDER/shards/{number}-of-{count}/PATH to FOLDER/PATH, lines or scores, for each output below FOLDER."""
    shards = [folder / "shards" / f"{number}-of-{count}" for number in range(1, count + 1)]
    parts_of = {}
    for output in outputs:
        path = os.path.relpath(output, folder)
        if path.startswith(".."):
            raise LMSteerError(f"{output} is not in {folder}: name files of the folder that has their shards")
        parts_of[output] = [shard / path for shard in shards]
    # Check all of them before joining the first.
    for part in chain(*parts_of.values()):
        if not part.exists():
            raise LMSteerError(f"{part}: no such file: make this shard first")
    for output, parts in parts_of.items():
        join = _join_scores if output.suffix == ".parquet" else _join_lines
        with replacing(output) as temporary:
            join(parts, temporary)


def _join_lines(parts: Sequence[Path], output: Path) -> None:
    with open(output, "wb") as joined:
        for part in parts:
            # The last line of a truncated file would merge with the first of the next.
            if read_jsonl(part):
                joined.write(part.read_bytes().rstrip() + b"\n")


def _join_scores(parts: Sequence[Path], output: Path) -> None:
    """Join tables of scores (score/run.py), with the rows of each file together in the order of its prompts."""
    import pyarrow.parquet as pq

    # The last shard always has a prompt, so its table names every file.
    with reading(parts[-1], "a table of scores"):
        files = pq.read_table(parts[-1], columns=["file"])["file"].unique().to_pylist()
        schema = pq.read_schema(parts[-1])
    for part in parts:
        with reading(part, "a table of scores"):
            others = {*pq.read_table(part, columns=["file"])["file"].unique().to_pylist()} - {*files}
        if others:
            raise LMSteerError(f"{part} has scores of {min(others)}, {parts[-1]} has none: make these shards again")
    with pq.ParquetWriter(output, schema) as writer:
        for file in files:
            for part in parts:
                with reading(part, "a table of scores like those of the other shards"):
                    writer.write_table(pq.read_table(part, filters=[("file", "=", file)]))
