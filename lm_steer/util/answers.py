"""Read and check the JSON answer of a program run in another environment.

tokens = read_answer(Path("answer.json"), [[int]], ".vllm/bin/python", 6)
"""

from pathlib import Path
from typing import Any

from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import read_json


def read_answer(path: Path, shape: Any, python: str, count: int | None = None) -> Any:
    """Return the JSON of a file, checked to have a shape (`util.files.fitting`) and, if given, `count` items.

    Raises LMSteerError naming the program if it does not.
    """
    try:
        answer = read_json(path, shape)
    except LMSteerError as error:
        reason = str(error).removeprefix(f"{path.parent}/")
        raise LMSteerError(f"{python} gave no answer ({reason}): name the Python of the engine's venv") from None
    if count is not None and len(answer) != count:
        raise LMSteerError(f"{python} gave {len(answer)} answers to {count} requests: update the engine")
    return answer
