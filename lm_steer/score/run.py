"""Score generation files with one scorer: one row a generation, each text judged once.

lm-steer score --kind profanity-check --file results/generations/smollm2/seed0/unsteered.jsonl -o scores.parquet
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lm_steer.errors import LMSteerError
from lm_steer.files import replacing
from lm_steer.score.exchange import import_scores
from lm_steer.score.kinds import KINDS
from lm_steer.score.perplexity import causal_lm
from lm_steer.score.sentiment import bag_of_words
from lm_steer.score.store import STORE, Item, Scorer, ScoreStore
from lm_steer.score.toxicity import profanity_check
from lm_steer.texts import read_generations

AT_ONCE = 250_000


def score_files(
    kind: str,
    resource: str,
    files: Sequence[str],
    output: Path,
    cache: Path,
    prompts: int = 0,
    scores: str = "",
    **options: Any,
) -> None:
    """Write a parquet of (file, prompt, sample, one column an attribute, scorer, version), rows in order.

    prompts     how many prompts of each file are scored, the first ones; 0 for all
    scores      earlier scores as JSON lines, taken into the store first
    options     those of the kind, see make_scorer
    """
    # Every file is read once before the judge is loaded: a bad one is found before any work.
    sizes = [sum(map(len, read_generations(file)[1][: prompts or None])) for file in files]
    scorer = make_scorer(kind, resource, **options)
    store = ScoreStore(cache / STORE)
    if scores:
        import_scores(store, scores)
    with replacing(output) as temporary, ExitStack() as stack:
        writer = None
        for group in _groups(files, sizes):
            table = pa.Table.from_pandas(_scored(scorer, store, group, prompts), preserve_index=False)
            writer = writer or stack.enter_context(pq.ParquetWriter(temporary, table.schema))
            writer.write_table(table)


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


def _scored(scorer: Scorer, store: ScoreStore, files: Sequence[str], prompts: int) -> pd.DataFrame:
    """Return the scores of some files: (file, prompt, sample, one column an attribute, scorer, version)."""
    rows = [
        (file, prompt_number, sample_number, Item(prompt, text))
        for file in files
        for prompt_number, (prompt, samples) in enumerate(
            islice(zip(*read_generations(file), strict=True), prompts or None)
        )
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
    if kind == "profanity-check":
        return profanity_check()
    if kind == "bag-of-words":
        return bag_of_words(resource)
    if kind == "causal-lm":
        from lm_steer.models import load_model

        return causal_lm(load_model(resource, **options), Path(resource).name)
    if kind == "perspective":
        from lm_steer.score.perspective import perspective

        return perspective(**options)
    if kind == "classifier":
        from lm_steer.score.classifier import classifier

        return classifier(resource, **options)
    raise LMSteerError(f"unknown kind of scorer '{kind}': choose {', '.join(KINDS)}")
