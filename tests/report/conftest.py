"""A small study and its results, written by hand: no model is needed for a table or the page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lm_steer.data import layout
from lm_steer.study import plan
from lm_steer.study.config import Study, resolved
from lm_steer.tables import intervals
from lm_steer.tables.table import write_table
from lm_steer.util.files import write_json, write_jsonl

PROMPTS = [f"Prompt {number} <b>of</b> {{{{ 7 * 7 }}}}" for number in range(8)]
SAMPLES = 3
ATTRIBUTES = {
    "profanity-check": ["toxicity"],
    "bag-of-words": ["positive"],
    "causal-lm": ["nll", "tokens"],
}
SETTINGS = {
    "plain-rude": {"prompts": "rude", "scorers": ["toxicity", "perplexity"]},
    "mild-rude": {
        "prompts": "rude",
        "scorers": ["toxicity", "perplexity"],
        "steer": {"detox": {"detox": 5, "corpus": 1}},
        "against": "plain-rude",
    },
    "plain-neutral": {"prompts": "neutral", "scorers": ["sentiment", "perplexity"]},
    "glad-neutral": {
        "prompts": "neutral",
        "scorers": ["sentiment", "perplexity"],
        "steer": {"mood": {"mood": -5}},
        "against": "plain-neutral",
    },
}
TABLES = {
    "manners": {"title": "Manners & <i>", "rows": {"Unsteered": ["plain-rude"], "Mild": ["mild-rude"]}},
    "mood": {
        "title": "Mood",
        "note": "A note.",
        "rows": {"Unsteered": ["plain-neutral"], "Glad": ["glad-neutral"]},
    },
}


@pytest.fixture(name="study_of")
def study_of_fixture() -> Callable[..., Study]:
    return study_of


def merged(base: Any, change: Any) -> Any:
    """Merge a change into a config, key by key."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    return base | {key: merged(base.get(key), value) for key, value in change.items()}


def study_of(
    models: tuple[str, ...] = ("tiny",), seeds: tuple[int, ...] = (0,), steered: bool = True, **changes: Any
) -> Study:
    """Return the study, with some keys changed."""
    settings = {name: setting for name, setting in SETTINGS.items() if steered or "against" not in setting}
    tables = {
        name: {**table, "rows": {row: names for row, names in table["rows"].items() if names[0] in settings}}
        for name, table in TABLES.items()
    }
    steers = {
        "detox": {"dataset": "listed", "dimensions": ["detox", "corpus"], "steps": 30},
        "mood": {"dataset": "mine", "dimensions": ["mood"], "steps": 30},
    }
    config = {
        "title": "A <small> study",
        "seeds": list(seeds),
        "models": {name: {"source": "folder", "id": f"models/{name}"} for name in models},
        "datasets": {
            "listed": {"source": "vader-lexicon"},
            "mine": {"source": "file", "path": "mine.csv"},
        },
        **({"steers": steers} if steered else {}),
        "prompts": {
            "rude": {"source": "file", "path": "rude.jsonl", "toxic": True},
            "neutral": {"source": "file", "path": "neutral.jsonl"},
        },
        "sampling": {"samples": SAMPLES},
        "scorers": {
            "toxicity": {"kind": "profanity-check"},
            "sentiment": {"kind": "bag-of-words", "held_out": "mine"},
            "perplexity": {"kind": "causal-lm", "model": models[0]},
        },
        "settings": settings,
        "tables": tables,
    }
    return resolved(merged(config, changes))


def scores_of(kind: str, setting: str, model: str, seed: int) -> np.ndarray:
    """Scores (prompts, samples, attributes): steered toxicity is lower by .4, steered sentiment is as unsteered."""
    noise = np.random.default_rng([len(model), seed]).random((len(PROMPTS), SAMPLES))
    if kind == "profanity-check":
        return (0.2 * noise + (0.1 if setting == "mild-rude" else 0.5))[..., None]
    if kind == "bag-of-words":
        shift = 1 if setting == "glad-neutral" else 0
        return np.roll(noise, shift, axis=0)[..., None]
    return np.stack([20 + 40 * noise, np.full(noise.shape, 20.0)], axis=-1)


def write_generations(study: Study, results: Path) -> None:
    for model in study.models:
        for seed in study.seeds:
            for name in study.settings:
                rows = [
                    {
                        "prompt": {"text": prompt},
                        "generations": [{"text": f" <script>{name} {i}</script> & more"} for i in range(SAMPLES)],
                    }
                    for prompt in PROMPTS
                ]
                write_jsonl(layout.generations(results, model, seed, name), rows)


def write_scores(study: Study, results: Path) -> None:
    for model in study.models:
        for scorer, block in study.scorers.items():
            if block.kind not in ATTRIBUTES:
                continue
            rows = []
            for name, setting in study.settings.items():
                for seed in study.seeds if scorer in setting.scorers else []:
                    scores = scores_of(block.kind, name, model, seed)
                    rows += [
                        [str(layout.generations(results, model, seed, name)), prompt, sample, *scores[prompt, sample]]
                        for prompt in range(len(PROMPTS))
                        for sample in range(SAMPLES)
                    ]
            frame = pd.DataFrame(rows, columns=["file", "prompt", "sample", *ATTRIBUTES[block.kind]])
            path = results / "scores" / model / f"{scorer}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            frame.assign(scorer=block.kind, version=f"{block.kind} 1").to_parquet(path)


def write_origins(study: Study, results: Path) -> None:
    for model in study.models:
        record = {
            "source": "folder",
            "id": f"models/{model}",
            "revision": "",
            "files": {"w.safetensors": "ab" * 32},
        }
        write_json(results / "models" / model / "lm_steer_model.json", record)
        for name, steer in study.steers.items():
            for seed in study.seeds:
                folder = results / "steers" / model / name / f"seed{seed}"
                write_json(
                    folder / "steer_config.json",
                    {"dimensions": steer.dimensions, "about": {"recipe": steer.model_dump(), "texts": 99}},
                )
                log = [{"step": 0, "dev_loss": 5.0}]
                log += [{"step": step, "loss": 5 - step / 30, "tokens": 9} for step in range(1, 31)]
                write_jsonl(folder / "training.jsonl", [*log[:-1], {**log[-1], "dev_loss": 4.2}])
    for name in study.datasets:
        counts = {"texts": 100, "negative": 40, "neutral": 10, "positive": 50}
        write_json(results / "data" / name / "counts.json", counts)


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the bootstrap 50 times: its width does not matter here."""
    monkeypatch.setattr(intervals, "DRAWS", 50)


@pytest.fixture
def make_results(tmp_path: Path, few_draws: None) -> Callable[[Study], Path]:
    """Return a function study → its folder of results, tables included; `score` makes scores of other kinds."""

    def make(study: Study, results: Path = tmp_path / "results", score: Callable[[], None] = lambda: None) -> Path:
        write_generations(study, results)
        write_scores(study, results)
        write_origins(study, results)
        score()
        for name in study.tables:
            write_table(plan.table(study, name).part, results, results / "tables" / f"{name}.csv")
        return results

    return make
