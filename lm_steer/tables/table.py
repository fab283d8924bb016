"""One table: for each row, model and set of prompts, all metrics with intervals and differences to unsteered.

    lm-steer table --study results/study.json --name detoxification -o results/tables/detoxification.csv

Long form, one line per cell. All rows of a table must be scored by the same scorer and version.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lm_steer.data import layout
from lm_steer.data.prompt_files import DIGEST, read_generations, text_digest
from lm_steer.tables import metrics
from lm_steer.tables.metrics import Metric
from lm_steer.tables.published import beside
from lm_steer.util.errors import LMSteerError
from lm_steer.util.formats import read_parquet, write_csv
from lm_steer.util.progress import Progress

KEYS = ["file", "prompt", "sample", "scorer", "version"]


def write_table(table: dict[str, Any], results: Path, output: Path) -> None:
    """Compute a table; `table` has its rows, published numbers, settings, scorers, models and seeds."""
    readers = {model: Reader(results, model, table) for model in (*table["models"], layout.EXTERNAL)}
    cells = [
        (reader, label, setting)
        for model, reader in readers.items()
        for label, settings in table["rows"].items()
        for setting in settings
        if model in _models_of(table["settings"][setting])
    ]
    rows: list[dict[str, Any]] = []
    with Progress(f"table {output.stem}", len(cells), "setting") as progress:
        for reader, label, setting in cells:
            prompts = table["settings"][setting]["prompts"]
            start = {"model": reader.model, "row": label, "setting": setting, "prompts": prompts}
            rows += [{**start, **cell} for cell in _cells(reader, setting)]
            progress.advance()
    if table["published"]:
        rows = [{**row, **beside(table["published"], row)} for row in rows]
    # Infinite ends of intervals are left empty.
    frame = pd.DataFrame(rows).replace([np.inf, -np.inf], np.nan)
    _same_scorers(frame, output.stem)
    write_csv(output, frame)


def _models_of(setting: dict[str, Any]) -> Sequence[str]:
    return [layout.EXTERNAL] if setting["generations"] else setting["models"]


def _cells(reader: "Reader", setting: str) -> Iterator[dict[str, Any]]:
    """Yield the cells of one setting and model."""
    against = reader.table["settings"][setting]["against"]
    for metric, read, scorer, version in reader.metrics_of(setting):
        scores = read(setting)
        others = None
        if against:
            others = read(against)
            reader.check_pairs(setting, against, len(scores[0]), len(others[0]))
            # Without training there is one sample, for all seeds.
            others = others * len(scores) if len(others) == 1 else others
        yield {**cell_of(metric, scores, others), "scorer": scorer, "version": version}


def cell_of(metric: Metric, seeds: Sequence[Any], against: Sequence[Any] | None = None) -> dict[str, Any]:
    """Return a table's cell of a metric: value, difference to `against` (NaN without it), intervals, counts.

    seeds       for each training seed, the scores (prompts, samples, …), or the texts of each prompt
    """
    estimate = metrics.interval(metric, seeds)
    difference = metrics.interval(metric, seeds, against) if against else metrics.Estimate(np.nan, np.nan, np.nan)
    dominating, dominating_share = metrics.dominating(metric, seeds)
    return {
        "metric": metric.name,
        **estimate.row(),
        "seed_low": min(estimate.by_seed),
        "seed_high": max(estimate.by_seed),
        "trainings": estimate.trainings,
        "difference": difference.value,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "n_prompts": len(seeds[0]),
        "n_generations": sum(len(samples) for each in seeds for samples in each),
        "seeds": len(seeds),
        "left_out": sum(metric.left_out(each) for each in seeds),
        "dominating": dominating,
        "dominating_share": dominating_share,
    }


class Reader:
    """The generations and scores of one model, read once."""

    def __init__(self, results: Path, model: str, table: dict[str, Any]) -> None:
        self.results, self.model, self.table = results, model, table
        self._scores: dict[str, dict[str, pd.DataFrame]] = {}
        self._generations: dict[str, list[tuple[list[str], list[list[str]]]]] = {}

    def metrics_of(self, setting: str) -> Iterator[tuple[Metric, Callable[[str], list], str, str]]:
        """Yield (metric, function that reads a setting's scores or texts by seed, scorer, version) for a setting."""
        options, scorers = self.table["settings"][setting], self.table["scorers"]
        for scorer in (name for name in options["scorers"] if name in scorers):
            first = next(iter(self._files(scorer).values())).iloc[0]
            for metric in metrics.of_attribute(scorers[scorer]["attribute"], options["perplexity_limit"]):
                yield metric, partial(self._scores_of, scorer), first["scorer"], first["version"]
        for metric in metrics.of_attribute(""):
            yield metric, self._samples, *metric.judge

    def check_pairs(self, setting: str, against: str, count: int, other: int) -> None:
        """Raise LMSteerError unless both settings were scored on the same prompts in the same order."""
        one, another = (self._read(name)[0][0][:count] for name in (setting, against))
        if count != other or one != another:
            raise LMSteerError(
                f"{setting} was scored on {count} prompts and {against} on {other}, or on different ones: a difference "
                "needs the same prompts"
            )

    def _paths(self, setting: str) -> list[Path]:
        seeds = self.table["settings"][setting]["seeds"]
        return [layout.generations(self.results, self.model, seed, setting) for seed in seeds]

    def _read(self, setting: str) -> list[tuple[list[str], list[list[str]]]]:
        """Return the prompts of a setting and their texts for each seed."""
        if setting not in self._generations:
            self._generations[setting] = [read_generations(path) for path in self._paths(setting)]
        return self._generations[setting]

    def _samples(self, setting: str) -> list[list[list[str]]]:
        return [samples for _, samples in self._read(setting)]

    def _files(self, scorer: str) -> dict[str, pd.DataFrame]:
        """Return a scorer's scores by generation file."""
        if scorer not in self._scores:
            path = layout.scores(self.results, self.model, scorer)
            frame = read_parquet(path, KEYS)
            values = frame.drop(columns=KEYS).drop(columns=DIGEST, errors="ignore")
            numbers = values.select_dtypes("number")
            if (
                frame.empty
                or values.empty
                or not np.isfinite(numbers).all(axis=None)
                or frame[KEYS].isna().any(axis=None)
            ):
                raise LMSteerError(f"{path} has no scores, or some that are not finite or not named: score again")
            if len(numbers.columns) < len(values.columns) or frame.duplicated(KEYS[:3]).any():
                raise LMSteerError(f"{path} has scores that are not numbers, or several for one text: score again")
            if len(frame[KEYS[3:]].drop_duplicates()) > 1:
                raise LMSteerError(f"{path} has scores of several versions: score again")
            self._scores[scorer] = dict(iter(frame.groupby("file")))
        return self._scores[scorer]

    def _scores_of(self, scorer: str, setting: str) -> list[metrics.Array]:
        """Return the scores (prompts, samples, …) of a setting by one scorer, for each seed."""
        block, arrays = self.table["scorers"][scorer], []
        for path, (written, samples) in zip(self._paths(setting), self._read(setting), strict=True):
            rows = self._files(scorer).get(str(path))
            if rows is None:
                raise LMSteerError(f"{path} has no scores by {scorer}: score it first")
            rows = rows.sort_values(["prompt", "sample"])
            # Scores of the model itself have its questions or texts in place of prompts.
            texts, each = (len(rows), 1) if block["of_model"] else (len(samples), len(samples[0]))
            prompts = min(block["prompts"] or texts, texts)
            pairs = ((prompt, text) for prompt, of_prompt in zip(written, samples, strict=True) for text in of_prompt)
            # Score files of earlier versions have no digests.
            digests = list(rows.pop(DIGEST)) if DIGEST in rows else []
            if (
                len(rows) != prompts * each
                or rows["prompt"].nunique() != prompts
                or any(digest != text_digest(*pair) for digest, pair in zip(digests, pairs, strict=False))
            ):
                raise LMSteerError(
                    f"{path} lacks scores by {scorer} for some texts, or has scores of other texts: score it again"
                )
            values = rows.drop(columns=KEYS).to_numpy(dtype=float)
            arrays.append(values.reshape((prompts, each) if values.shape[1] == 1 else (prompts, each, -1)))
        return arrays


def _same_scorers(frame: pd.DataFrame, name: str) -> None:
    for metric, cells in frame.groupby("metric"):
        versions = cells[["scorer", "version"]].drop_duplicates()
        if len(versions) > 1:
            listed = "; ".join(f"{row.scorer} {row.version}" for row in versions.itertuples())
            raise LMSteerError(
                f"table {name}: {metric} would be compared between different scorers ({listed}): score every row with "
                "the same one"
            )
