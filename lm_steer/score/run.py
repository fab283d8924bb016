"""Score generation files with one scorer: one row per generation, each text judged once.

lm-steer score --kind profanity-check --file results/generations/smollm2/seed0/unsteered.jsonl -o scores.parquet
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lm_steer.data.prompt_files import read_generations
from lm_steer.data.shards import WHOLE, Shard
from lm_steer.score.exchange import import_scores
from lm_steer.score.kinds import KINDS, OPTIONS
from lm_steer.score.store import STORE, Item, Scorer, ScoreStore
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import replacing

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
    **options: Any,
) -> None:
    """Write a parquet of (file, prompt, sample, one column an attribute, scorer, version), rows in order.

    prompts     how many prompts of each file are scored, the first ones; 0 for all
    shard       which part of these prompts
    scores      earlier scores as JSON lines, taken into the store first
    options     those of the kind, see make_scorer
    """
    # Every file is read once before the judge is loaded: a bad one is found before any work.
    sizes = [sum(len(samples) for _, _, samples in _prompts_of(file, prompts, shard)) for file in files]
    scorer = make_scorer(kind, resource, **options)
    store = ScoreStore(cache / STORE)
    if scores:
        import_scores(store, scores)
    columns = [("file", pa.string()), ("prompt", pa.int64()), ("sample", pa.int64())]
    columns += [(attribute, pa.float64()) for attribute in scorer.attributes]
    schema = pa.schema([*columns, ("scorer", pa.string()), ("version", pa.string())])
    with replacing(output) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for group in _groups(files, sizes):
            frame = _scored(scorer, store, group, prompts, shard)
            writer.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False))


def _groups(files: Sequence[str], sizes: Sequence[int]) -> Iterator[list[str]]:
    """Yield files in their order, some AT_ONCE generations at a time: memory does not grow with their number."""
    group: list[str] = []
    total = 0
    for file, size in zip(files, sizes, strict=True):
        if group and total + size > AT_ONCE:
            yield group
            group, total = [], 0
        group.append(file)
        total += size
    yield group


def _prompts_of(file: str, prompts: int, shard: Shard) -> list[tuple[int, str, list[str]]]:
    """Return (its number, prompt, continuations) of a shard of a file's first `prompts` prompts."""
    numbered = [(number, *row) for number, row in enumerate(zip(*read_generations(file), strict=True))]
    chosen = numbered[: prompts or None]
    return chosen[shard.of(len(chosen))]


def _scored(scorer: Scorer, store: ScoreStore, files: Sequence[str], prompts: int, shard: Shard) -> pd.DataFrame:
    """Return the scores of some files: (file, prompt, sample, one column an attribute, scorer, version)."""
    rows = [
        (file, prompt_number, sample_number, Item(prompt, text))
        for file in files
        for prompt_number, prompt, samples in _prompts_of(file, prompts, shard)
        for sample_number, text in enumerate(samples)
    ]
    judged = store.scores(scorer, [row[3] for row in rows])
    frame = pd.DataFrame([row[:3] for row in rows], columns=["file", "prompt", "sample"])
    for number, attribute in enumerate(scorer.attributes):
        frame[attribute] = [score[number] for score in judged]
    return frame.assign(scorer=scorer.name, version=scorer.version)


def make_scorer(kind: str, resource: str = "", **options: Any) -> Scorer:
    """Return the scorer of a kind; `resource` is the folder of its judge or model, where it has one.

    Options are taken by three kinds: dtype by `causal-lm`; mode, score, queries_per_second and version by
    `perspective`; preset, label, activation and measures by `classifier`.
    """
    if unknown := [key for key in options if key not in ("dtype", *OPTIONS.get(kind, ()))]:
        raise LMSteerError(f"a scorer of the kind '{kind}' has no key '{unknown[0]}'")
    if (kind in ("bag-of-words", "causal-lm", "classifier")) != bool(resource):
        needs = "has no folder of a judge or model" if resource else "needs the folder of its judge or model"
        raise LMSteerError(f"a scorer of the kind '{kind}' {needs}: --resource")
    if kind == "profanity-check":
        from lm_steer.score.profanity_check import profanity_check

        return profanity_check()
    if kind == "bag-of-words":
        from lm_steer.score.bag_of_words import bag_of_words

        return bag_of_words(resource)
    if kind == "causal-lm":
        from lm_steer.model.load import load_model
        from lm_steer.score.causal_lm import causal_lm

        return causal_lm(load_model(resource, **options), Path(resource).name)
    if kind == "perspective":
        from lm_steer.score.perspective import perspective

        return perspective(**options)
    if kind == "classifier":
        from lm_steer.score.classifier import classifier

        return classifier(resource, **options)
    raise LMSteerError(f"unknown kind of scorer '{kind}': choose {', '.join(KINDS)}")
