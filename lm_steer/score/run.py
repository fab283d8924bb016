"""Score generation files with one scorer: one row per generation, each text judged once.

lm-steer score --kind profanity-check --file results/generations/smollm2/seed0/unsteered.jsonl -o scores.parquet
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lm_steer.data.prompt_files import DIGEST, read_generations, text_digest
from lm_steer.data.shards import WHOLE, Shard
from lm_steer.score.exchange import import_scores
from lm_steer.score.registry import make
from lm_steer.score.store import STORE, Item, Scorer, ScoreStore
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import replacing
from lm_steer.util.options import check_unused

AT_ONCE = 250_000


def score_files(
    kind: str,
    resource: str,
    files: Sequence[str],
    output: Path,
    cache: Path,
    prompts: int = 0,
    scores: str = "",
    shard: Shard = WHOLE,
    scorer: Scorer | None = None,
    **options: Any,
) -> None:
    """Write a parquet of (file, prompt, sample, a column per attribute, scorer, version, digest of the text), in order.

    prompts     how many prompts of each file to score, from the first; 0 for all
    shard       which part of these prompts
    scores      earlier scores as JSON lines, imported into the store first
    scorer      replaces the kind's own
    options     dtype, and the keys of the kind
    """
    # Read all files before loading the judge, so that a bad one is reported at once.
    sizes = [sum(len(samples) for _, _, samples in _prompts_of(file, prompts, shard)) for file in files]
    scorer = scorer or make_scorer(kind, resource, **options)
    store = ScoreStore(cache / STORE)
    if scores:
        import_scores(store, scores)
    columns = [("file", pa.string()), ("prompt", pa.int64()), ("sample", pa.int64())]
    columns += [(attribute, pa.float64()) for attribute in scorer.attributes]
    schema = pa.schema([*columns, ("scorer", pa.string()), ("version", pa.string()), (DIGEST, pa.string())])
    with replacing(output) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for group in _groups(files, sizes):
            frame = _scored(scorer, store, group, prompts, shard)
            writer.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False))


def _groups(files: Sequence[str], sizes: Sequence[int]) -> Iterator[list[str]]:
    """Yield files in order, about AT_ONCE generations at a time, so that memory does not grow with their number."""
    starts = accumulate(sizes, initial=0)
    for _, group in groupby(zip(starts, files, strict=False), lambda pair: pair[0] // AT_ONCE):
        yield [file for _, file in group]


def _prompts_of(file: str, prompts: int, shard: Shard) -> list[tuple[int, str, list[str]]]:
    """Return (number, prompt, continuations) for a shard of a file's first `prompts` prompts."""
    numbered = [(number, *row) for number, row in enumerate(zip(*read_generations(file), strict=True))]
    chosen = numbered[: prompts or None]
    return chosen[shard.of(len(chosen))]


def _scored(scorer: Scorer, store: ScoreStore, files: Sequence[str], prompts: int, shard: Shard) -> pd.DataFrame:
    """Return the scores of some files, with the columns of `score_files`."""
    rows = [
        (file, prompt_number, sample_number, Item(prompt, text))
        for file in files
        for prompt_number, prompt, samples in _prompts_of(file, prompts, shard)
        for sample_number, text in enumerate(samples)
    ]
    scores = store.scores(scorer, [row[3] for row in rows])
    frame = pd.DataFrame([row[:3] for row in rows], columns=["file", "prompt", "sample"])
    for number, attribute in enumerate(scorer.attributes):
        frame[attribute] = [score[number] for score in scores]
    digests = [text_digest(item.prompt, item.continuation) for *_, item in rows]
    return frame.assign(scorer=scorer.name, version=scorer.version, **{DIGEST: digests})


def make_scorer(kind: str, resource: str = "", dtype: str = "float32", **keys: Any) -> Scorer:
    """Return the scorer of a kind; `resource` is the folder of its judge or model, if it has one."""
    options = make(kind, keys)
    check_unused(f"the kind '{kind}'", {"resource": resource}, ["resource"] if options.folder else [])
    if options.folder and not resource:
        raise LMSteerError(f"a scorer of the kind '{kind}' needs the folder of its judge or model: give --resource")
    return options.scorer(resource, dtype)
