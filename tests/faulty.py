"""Steps of a study in miniature as commands, what they make, and a table of what faults did to them."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tiny
from miniature import make_model_folder, sentences

from lm_steer.files import write_jsonl

COMMAND = str(Path(sys.executable).parent / "lm-steer")
SEED = 20240518
# Each command with what it makes; the later ones read what the earlier ones have made.
STEPS = {
    "model": ("model --source folder --id origin -o model", ["model"]),
    "data": ("data --source file --path texts.jsonl -o data", ["data"]),
    "prompts": ("prompts --source file --path own.jsonl -o prompts.jsonl", ["prompts.jsonl"]),
    "train": (
        "train --model model --texts data/train.parquet --dev data/dev.parquet --dimensions mood,corpus --rank 4 "
        "--steps 150 --batch-size 4 -o steer",
        ["steer"],
    ),
    "generate": (
        "generate --model model --samples 25 --new-tokens 8 --job texts.out.jsonl|prompts.jsonl|steer\\ mood=5",
        ["texts.out.jsonl"],
    ),
    "score": ("score --kind profanity-check --file texts.out.jsonl -o scores.parquet", ["scores.parquet"]),
    "score by a model": (
        "score --kind causal-lm --resource model --file texts.out.jsonl -o perplexity.parquet",
        ["perplexity.parquet"],
    ),
}


def words(step: str) -> list[str]:
    """The command of a step as an argument list, with a cache beside its files."""
    command = [part.replace("\\ ", " ") for part in STEPS[step][0].replace("\\ ", "\0").split(" ")]
    command = [part.replace("\0", " ") for part in command]
    cache = ["--cache", "cache"] if command[0] in ("train", "generate", "score") else []
    return [COMMAND, *command, *cache]


def run(folder: Path, step: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words(step), cwd=folder, env=os.environ | environment, capture_output=True, text=True)


def start(folder: Path, step: str) -> subprocess.Popen:
    return subprocess.Popen(words(step), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def made(folder: Path, step: str) -> dict[str, bytes]:
    """The files that a step has made, by path."""
    found = {}
    for name in STEPS[step][1]:
        path = folder / name
        files = [path] if path.is_file() else sorted(part for part in path.rglob("*") if part.is_file())
        found |= {str(file.relative_to(folder)): file.read_bytes() for file in files}
    return found


@dataclass
class Reference:
    """A folder in which every step has run undisturbed, and how long each took."""

    folder: Path
    seconds: dict[str, float]


def make_reference(folder: Path) -> Reference:
    make_model_folder(folder / "origin")
    choose = random.Random(1)
    texts = [{"text": text, "label": choose.choice([-1, 1])} for text in sentences(300, seed=1)]
    write_jsonl(folder / "texts.jsonl", texts)
    write_jsonl(
        folder / "own.jsonl", [{"prompt": {"text": text}} for text in [*tiny.SENTENCES, *sentences(60, seed=2)]]
    )
    seconds = {}
    for step in STEPS:
        begun = time.monotonic()
        done = run(folder, step)
        seconds[step] = time.monotonic() - begun
        assert done.returncode == 0, f"{step}: {done.stderr}"
    return Reference(folder, seconds)


Row = Callable[[str, str, str, float], None]


def table(rows: list[tuple[str, str, str, float]]) -> str:
    """The fault table as a page: fault, what the user sees, what is lost, seconds to go on."""
    lines = [f"| {fault} | {seen} | {lost} | {seconds:.1f} |" for fault, seen, lost, seconds in rows]
    return HEAD + "\n".join(lines) + "\n"


HEAD = """# Faults, what is seen of them, and what is lost

Written by runs of the tests (`make faults`) on tiny models: every row was caused for real, the same command was given
again, and its files had to be those of an undisturbed run, byte for byte. The last column is how long that second
command took, in seconds, the start of Python and torch included; a busy machine takes several times as long.

| fault | what the user sees | what is lost | s to go on |
|---|---|---|---|
"""
