"""A task of lm-evaluation-harness on each setting's steered model, as a study configures it.

interop/lm_eval.py runs it.
"""

from pathlib import Path
from typing import Annotated

from lm_steer.score.registry import OfModel
from lm_steer.util.blocks import key
from lm_steer.util.options import Count, Rule

A_TASK = Rule(str, "the name of a task, such as lambada_openai", {"pattern": r"^\w[\w-]*$"})


class LmEval(OfModel):
    """A side effect: the steered model's accuracy at a task of lm-evaluation-harness."""

    task: Annotated[str, A_TASK] = key("The name of a task, such as `lambada_openai`, not of a group of tasks.")
    metric: str = key("Its metric, a number from 0 to 1 for each question: `acc`, `acc_norm`, `exact_match`, …", "acc")
    limit: Count = key("How many of its questions to ask, from the first; 0 for all.", 0)
    include: str = key("A folder with task files of your own.", "")

    @property
    def yields(self) -> str:  # type: ignore[override]
        """The name of its metric, one per task."""
        return f"accuracy_on_{self.task}"

    def files(self) -> list[str]:
        """Return the files of its folder as inputs of the rule: a folder's date does not change with its files."""
        if not self.include:
            return []
        files = [path for path in Path(self.include).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        # An empty or missing folder is returned itself, so that it is reported before any job starts.
        return sorted(map(str, files)) or [self.include]
