"""A study in miniature: a tiny random model and texts of one's own, through the real workflow."""

import json
import random
import shutil
from pathlib import Path

import tiny
import yaml
from running import ROOT

WORDS = tiny.WORDS


def sentences(count: int, seed: int) -> list[str]:
    choose = random.Random(seed)
    return [" ".join(choose.choices(WORDS, k=choose.randint(8, 14))) for _ in range(count)]


def make_model_folder(folder: Path) -> Path:
    """Save the tiny model as the hub lays one out."""
    tiny.make_model("llama-padded-vocabulary").save_pretrained(folder)
    tiny.make_tokenizer().save_pretrained(folder)
    return folder


def make_project(folder: Path, model_folder: Path) -> Path:
    """Copy the workflow and the package with a small study, so that a test may edit any of it."""
    folder.mkdir(exist_ok=True)
    for name in ("Snakefile", "workflow", "lm_steer", "envs"):
        origin, copy = ROOT / name, folder / name
        shutil.copy(origin, copy) if origin.is_file() else shutil.copytree(
            origin, copy, ignore=shutil.ignore_patterns("__pycache__")
        )
    texts = sentences(120, seed=1)
    rows = [{"text": text, "label": 1 if number % 2 else -1} for number, text in enumerate(texts)]
    (folder / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    study = {
        "models": {"tiny": {"source": "folder", "id": str(model_folder)}},
        "datasets": {"mine": {"source": "file", "path": "texts.jsonl"}},
        "steers": {
            "style": {
                "dataset": "mine",
                "dimensions": ["style", "corpus"],
                "rank": 4,
                "steps": 6,
                "batch_size": 4,
            }
        },
        "prompts": {"few": {"source": "openings", "dataset": "mine", "count": 6, "words": 4}},
        "sampling": {"samples": 2, "new_tokens": 5},
        "scorers": {
            "toxicity": {"kind": "profanity-check"},
            "perplexity": {"kind": "causal-lm", "model": "tiny"},
        },
        "settings": {
            "plain": {"prompts": "few", "scorers": ["toxicity", "perplexity"]},
            "styled": {
                "prompts": "few",
                "scorers": ["toxicity", "perplexity"],
                "steer": {"style": {"style": 5, "corpus": 1}},
                "against": "plain",
            },
        },
        "tables": {
            "effect": {"title": "Effect", "rows": {"Unsteered": ["plain"], "Steered": ["styled"]}},
        },
    }
    (folder / "config").mkdir()
    (folder / "config/config.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    return folder
