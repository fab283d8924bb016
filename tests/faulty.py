"""Steps of a study in miniature as commands, what they make, and a table of what faults did to them."""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import tiny
from miniature import make_model_folder

from lm_steer.util.files import write_jsonl

COMMAND = str(Path(sys.executable).parent / "lm-steer")
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
        "generate --model model --samples 25 --new-tokens 8 --prompts prompts.jsonl --steer steer --at mood=5 "
        "-o texts.out.jsonl",
        ["texts.out.jsonl"],
    ),
    "score": ("score --kind profanity-check --file texts.out.jsonl -o scores.parquet", ["scores.parquet"]),
    "score by a model": (
        "score --kind causal-lm --resource model --file texts.out.jsonl -o perplexity.parquet",
        ["perplexity.parquet"],
    ),
}


# Processes that have torch at hand: a step that is killed again and again need not import it each time.
FORKS = multiprocessing.get_context("forkserver")
NEEDED = ("cli", "generation.jobs", "training.learn", "score.run", "data.sources")
FORKS.set_forkserver_preload([f"lm_steer.{name}" for name in NEEDED])
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "sqlite3.connect")


def _work(folder: Path, command: list[str], moment: int, seen: Synchronized) -> None:
    """Run `lm-steer`, counting changes in its folder and units of work done; at `moment` of them it kills itself."""
    from lm_steer.cli import main
    from lm_steer.util.progress import Progress

    def count() -> None:
        seen.value += 1
        if seen.value == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def look(event: str, given: tuple) -> None:
        if event == "open":
            changes = isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            changes = event in CHANGES
        named = changes and isinstance(given[0], (str, os.PathLike))
        if named and os.path.abspath(given[0]).startswith(f"{folder}{os.sep}"):
            count()

    def advance(self: Progress, *rest: object, known: Callable[..., None] = Progress.advance) -> None:
        known(self, *rest)
        count()

    os.chdir(folder)
    Progress.advance = advance
    sys.addaudithook(look)
    sys.argv = command
    main()


def words(step: str) -> list[str]:
    """The command of a step as an argument list, with a cache beside its files."""
    command = [part.replace("\\ ", " ") for part in STEPS[step][0].replace("\\ ", "\0").split(" ")]
    command = [part.replace("\0", " ") for part in command]
    cache = ["--cache", "cache"] if command[0] in ("train", "generate", "score") else []
    return [COMMAND, *command, *cache]


def run(folder: Path, step: str) -> subprocess.CompletedProcess[str]:
    """Run a step by the `lm-steer` that comes first on the PATH."""
    return subprocess.run(["lm-steer", *words(step)[1:]], cwd=folder, capture_output=True, text=True)


def killed(folder: Path, step: str, moment: int = 0) -> tuple[int, int]:
    """Run a step that kills itself at a moment of its work, if it comes to it: its exit code, and how far it came."""
    seen = FORKS.Value("i", 0)
    process = FORKS.Process(target=_work, args=(folder.resolve(), words(step), moment, seen))
    process.start()
    process.join()
    return process.exitcode, seen.value


def forget(folder: Path, step: str) -> None:
    """Remove what a step has made, and every cache."""
    for name in STEPS[step][1]:
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
    shutil.rmtree(folder / "cache", ignore_errors=True)


def temporary(folder: Path) -> list[Path]:
    """What is being written, or was when its writer was killed."""
    return sorted(folder.rglob(".*.part"))


def made(folder: Path, step: str) -> dict[str, bytes]:
    """The files that a step has made, by path; not what is still being written."""
    found = {}
    unfinished = temporary(folder)
    for name in STEPS[step][1]:
        path = folder / name
        files = [path] if path.is_file() else sorted(part for part in path.rglob("*") if part.is_file())
        whole = [file for file in files if not {file, *file.parents} & {*unfinished}]
        found |= {str(file.relative_to(folder)): file.read_bytes() for file in whole}
    return found


@dataclass
class Reference:
    """A folder in which every step has run undisturbed, and at how many moments of each it could have been killed."""

    folder: Path
    moments: dict[str, int]


def sentences(count: int, seed: int) -> list[str]:
    choose = random.Random(seed)
    return [" ".join(choose.choices(tiny.WORDS, k=choose.randint(8, 14))) for _ in range(count)]


def make_reference(folder: Path) -> Reference:
    make_model_folder(folder / "origin")
    choose = random.Random(1)
    texts = [{"text": text, "label": choose.choice([-1, 1])} for text in sentences(300, seed=1)]
    write_jsonl(folder / "texts.jsonl", texts)
    write_jsonl(
        folder / "own.jsonl", [{"prompt": {"text": text}} for text in [*tiny.SENTENCES, *sentences(60, seed=2)]]
    )
    moments = {}
    for step in STEPS:
        code, moments[step] = killed(folder, step)
        assert code == 0, step
    return Reference(folder, moments)


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
