"""A task of lm-evaluation-harness on the steered model of each setting: how it is described in a study.

interop/lm_eval.py runs it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from lm_steer.score.registry import Kind
from lm_steer.score.store import Scorer
from lm_steer.util.blocks import Text, key
from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import Count


class LmEval(Kind):
    """A side effect: the steered model's accuracy at a task of lm-evaluation-harness."""

    of_model = True

    task: Text = key("The name of the task, `lambada_openai`; no group of tasks.")
    metric: str = key("Its metric, a number from 0 to 1 for each question: `acc`, `acc_norm`, `exact_match`, …", "acc")
    limit: Count = key("How many of its questions, the first ones; 0 for all.", 0)
    include: str = key("A folder with task files of your own.", "")

    @property
    def yields(self) -> str:  # type: ignore[override]
        """A metric of its own for each task."""
        return f"accuracy_on_{self.task}"

    def mistakes(self) -> Iterator[str]:
        """Yield a name that no task has."""
        if not re.fullmatch(r"\w[\w-]*", self.task):
            yield f".task: expected the name of a task, as lambada_openai, found '{self.task}'"

    def files(self) -> list[str]:
        """Return the files of its folder, inputs of the rule: the date of a folder tells of no edit to a file."""
        if not self.include:
            return []
        files = [path for path in Path(self.include).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        # A folder that is empty or missing stands for itself, so that it is named before any job starts.
        return sorted(map(str, files)) or [self.include]

    def scorer(self, resource: str = "", dtype: str = "float32") -> Scorer:
        """It judges no text."""
        raise LMSteerError("lm-eval measures steered models: use it in a study, as a scorer of its settings")
