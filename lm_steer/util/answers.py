"""What the program of another environment wrote, checked.

tokens = read_answers(Path("answer.json"), [[int]], 6, ".vllm/bin/python")
"""

from pathlib import Path
from typing import Any

from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import read_json


def read_answer(path: Path, shape: Any, python: str) -> Any:
    """Return the answer in a JSON file, of one shape (`util.files.fitting`); LMSteerError names the program if none."""
    try:
        return read_json(path, shape)
    except LMSteerError as error:
        reason = str(error).removeprefix(f"{path.parent}/")
        raise LMSteerError(f"{python} gave no answer ({reason}): is it the Python of the engine's venv?") from None


def read_answers(path: Path, shape: Any, count: int, python: str) -> list[Any]:
    """Return a list of as many answers as there were requests."""
    answers: list[Any] = read_answer(path, shape, python)
    if len(answers) != count:
        raise LMSteerError(f"{python} gave {len(answers)} answers to {count} requests: update the engine")
    return answers
