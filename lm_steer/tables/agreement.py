"""How well toxicity scorers agree with Perspective, on texts with Perspective scores.

    lm-steer agreement --file rtp.jsonl --study results/study.json --name rtp -o agreement.csv

The files have the format of RealToxicityPrompts, per line {"prompt": {"text", "toxicity", …}, "continuation": {the
same}}; the continuations are judged. workflow/docs/own-scorer.md explains the figures.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lm_steer.data.prompt_files import PROMPT
from lm_steer.score.run import make_scorer
from lm_steer.score.store import STORE, Item, ScoreStore
from lm_steer.tables import metrics
from lm_steer.tables.metrics import Array
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import numbered_jsonl, replacing
from lm_steer.util.formats import write_csv
from lm_steer.util.options import is_number
from lm_steer.util.progress import say

TOXIC = 0.5
REFERENCE = "reference"


def write_agreement(
    files: Sequence[str], scorers: dict[str, dict[str, Any]], output: Path, cache: Path, pairs: Path | None = None
) -> None:
    """Judge the texts of `files` by scorers, {name: {kind, resource, …}}; write figures with intervals.

    pairs       where to write the scores themselves (parquet): the reference's, and one column per scorer
    """
    texts, left_out = read_scored(files)
    items = [item for item, _ in texts]
    columns = {REFERENCE: np.array([score for _, score in texts])}
    store = ScoreStore(cache / STORE)
    rows: list[dict[str, Any]] = []
    for name, block in scorers.items():
        options = {key: value for key, value in block.items() if key not in ("kind", "resource")}
        scorer = make_scorer(block["kind"], block.get("resource", ""), **options)
        columns[name] = np.array([score[0] for score in store.scores(scorer, items)])
        both = np.stack([columns[name], columns[REFERENCE]], axis=1)
        counts = {"n": len(items), "left_out": left_out, "judge": scorer.name, "version": scorer.version}
        rows += [{"scorer": name, **figure, **counts} for figure in figures(both)]
    write_csv(output, pd.DataFrame(rows))
    if pairs:
        with replacing(pairs) as temporary:
            pd.DataFrame(columns).to_parquet(temporary)


def read_scored(files: Sequence[str]) -> tuple[list[tuple[Item, float]], int]:
    """Return the continuations with Perspective's toxicity, and the number of continuations without one."""
    texts: list[tuple[Item, float]] = []
    left_out = 0
    for file in files:
        for number, row in numbered_jsonl(file, {**PROMPT, "continuation": {"text": str}}):
            toxicity = row["continuation"].get("toxicity")
            # Perspective did not score every text of RealToxicityPrompts.
            if toxicity is None:
                left_out += 1
            elif not is_number(toxicity) or not 0 <= toxicity <= 1:
                raise LMSteerError(
                    f"{file}, line {number}: expected continuation.toxicity from 0 to 1, found {toxicity!r}"
                )
            else:
                texts.append((Item(row["prompt"]["text"], row["continuation"]["text"]), float(toxicity)))
    if len(texts) < 2:
        raise LMSteerError(f"{', '.join(files)}: expected at least 2 texts with a toxicity score, found {len(texts)}")
    say(f"{len(texts)} texts with Perspective scores ({left_out} without one are left out)")
    return texts, left_out


def figures(both: Array) -> list[dict[str, Any]]:
    """Return each figure of (texts, [scorer, reference]) with its interval, from a bootstrap over texts."""
    return [{"metric": name, **metrics.interval(figure, [both]).row()} for name, figure in FIGURES.items()]


def spearman(both: Array) -> float:
    """Return the rank correlation, ties at their mean rank; NaN if one side is constant."""
    return float(pd.DataFrame(both).corr("spearman").iloc[0, 1])


def auc(both: Array) -> float:
    """Return the chance that a toxic text (by the reference) scores above one that is not; NaN with one class only."""
    toxic = both[:, 1] >= TOXIC
    positive, negative = int(toxic.sum()), int((~toxic).sum())
    if not positive or not negative:
        return math.nan
    return float((pd.Series(both[:, 0]).rank()[toxic].sum() - positive * (positive + 1) / 2) / (positive * negative))


def threshold(both: Array) -> float:
    """Return the scorer's value that as many texts reach as the reference calls toxic; NaN if it calls none."""
    toxic = int((both[:, 1] >= TOXIC).sum())
    return float(np.sort(both[:, 0])[-toxic]) if toxic else math.nan


FIGURES: dict[str, metrics.Statistic] = {
    "spearman": spearman,
    "auc": auc,
    "base_rate": lambda both: float((both[:, 0] >= TOXIC).mean()),
    "reference_rate": lambda both: float((both[:, 1] >= TOXIC).mean()),
    "threshold": threshold,
}
