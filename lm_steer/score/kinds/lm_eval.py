"""A task of lm-evaluation-harness on the steered model of each setting: how it is described in a study.

interop/lm_eval.py runs it.
"""

from pathlib import Path
from typing import Annotated

from lm_steer.score.registry import OfModel
from lm_steer.util.blocks import key
from lm_steer.util.options import Count, Rule

A_TASK = Rule(str, "the name of a task, as lambada_openai", {"pattern": r"^\w[\w-]*$"})


class LmEval(OfModel):
    """A side effect: the steered model's accuracy at a task of lm-evaluation-harness."""

    task: Annotated[str, A_TASK] = key("The name of the task, `lambada_openai`; no group of tasks.")
    metric: str = key("Its metric, a number from 0 to 1 for each question: `acc`, `acc_norm`, `exact_match`, …", "acc")
    limit: Count = key("How many of its questions, the first ones; 0 for all.", 0)
    include: str = key("A folder with task files of your own.", "")

    @property
    def yields(self) -> str:  # type: ignore[override]
        """A metric of its own for each task."""
        return f"accuracy_on_{self.task}"

    def files(self) -> list[str]:
        """Return the files of its folder, inputs of the rule: the date of a folder tells of no edit to a file."""
        if not self.include:
            return []
        files = [path for path in Path(self.include).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        # A folder that is empty or missing stands for itself, so that it is named before any job starts.
        return sorted(map(str, files)) or [self.include]
