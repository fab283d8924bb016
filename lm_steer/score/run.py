"""Score generation files with one scorer: one row a generation, each text judged once.

lm-steer score --kind profanity-check --file results/generations/smollm2/seed0/unsteered.jsonl -o scores.parquet
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lm_steer.errors import LMSteerError
from lm_steer.files import replacing
from lm_steer.score.perplexity import causal_lm
from lm_steer.score.sentiment import bag_of_words
from lm_steer.score.store import Item, Scorer, ScoreStore
from lm_steer.score.toxicity import profanity_check
from lm_steer.texts import read_generations

KINDS = ("profanity-check", "bag-of-words", "causal-lm")


def score_files(kind: str, resource: str, files: Sequence[str], output: Path, cache: Path) -> None:
    """Write a parquet of (file, prompt, sample, one column an attribute, scorer, version), rows in order."""
    contents = [read_generations(file) for file in files]
    rows = [
        (file, prompt_number, sample_number, Item(prompt, text))
        for file, (prompts, samples) in zip(files, contents, strict=True)
        for prompt_number, (prompt, texts) in enumerate(zip(prompts, samples, strict=True))
        for sample_number, text in enumerate(texts)
    ]
    scorer = make_scorer(kind, resource)
    scores = ScoreStore(cache / "scores.sqlite").scores(scorer, [row[3] for row in rows])
    frame = pd.DataFrame([row[:3] for row in rows], columns=["file", "prompt", "sample"])
    for number, attribute in enumerate(scorer.attributes):
        frame[attribute] = [score[number] for score in scores]
    with replacing(output) as temporary:
        frame.assign(scorer=scorer.name, version=scorer.version).to_parquet(temporary)


def make_scorer(kind: str, resource: str) -> Scorer:
    """Return the scorer of a kind; `resource` is the folder of its judge or model, where it has one."""
    if kind == "profanity-check":
        return profanity_check()
    if kind == "bag-of-words":
        return bag_of_words(resource)
    if kind == "causal-lm":
        from lm_steer.models import load_model

        return causal_lm(load_model(resource), Path(resource).name)
    raise LMSteerError(f"unknown kind of scorer '{kind}': choose {', '.join(KINDS)}")
