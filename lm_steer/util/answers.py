"""What the program of another environment wrote, checked.

tokens = read_answer(Path("answer.json"), [[int]], ".vllm/bin/python", 6)
"""

from pathlib import Path
from typing import Any

from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import read_json


def read_answer(path: Path, shape: Any, python: str, count: int | None = None) -> Any:
    """Return the answer in a JSON file, of one shape (`util.files.fitting`) and, of a list, of as many items.

    LMSteerError names the program if there is none.
    """
    try:
        answer = read_json(path, shape)
    except LMSteerError as error:
        reason = str(error).removeprefix(f"{path.parent}/")
        raise LMSteerError(f"{python} gave no answer ({reason}): is it the Python of the engine's venv?") from None
    if count is not None and len(answer) != count:
        raise LMSteerError(f"{python} gave {len(answer)} answers to {count} requests: update the engine")
    return answer
