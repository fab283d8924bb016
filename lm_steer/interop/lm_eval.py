"""A model called `lm-steer` for EleutherAI's lm-evaluation-harness: any of its tasks on a steered model.

    python -m lm_steer.interop.lm_eval run --model lm-steer --tasks lambada_openai \\
        --model_args "pretrained=openai-community/gpt2,steer=my-steer,at=detox=5 corpus=1"

It is the harness's own command line with one more model: `hf` with a steer attached at fixed values. `steer` is a
folder or a hub id; without `at` every value is 0, which is the unsteered model.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from lm_steer.analyse.held_out import scores_of_model
from lm_steer.core.steer import Steer
from lm_steer.core.values import parse_values
from lm_steer.generation.jobs import steered_by
from lm_steer.model.load import dtype_of
from lm_steer.util.errors import LMSteerError, needs
from lm_steer.util.files import replacing

with needs("harness"):
    from lm_eval import simple_evaluate
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.registry import register_model
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager


@register_model("lm-steer")
class SteeredLM(HFLM):
    """A causal LM of transformers with a steer attached; also takes all options of the harness's `hf`.

    Raises LMSteerError if the steer is missing, does not fit the model, or has no such dimension.
    """

    def __init__(self, pretrained: Any, steer: str | Steer, at: str = "", **options: Any) -> None:
        steer = Steer.from_pretrained(steer) if isinstance(steer, str) else steer
        values = parse_values(at)
        steer.vector(values)
        super().__init__(pretrained, **options)
        # Attached as long as the model lives: the harness does not say when it is done.
        self.steering = steer.attach(self.model).at(values)
        self.steering.__enter__()


def write_task(
    model: Path,
    settings: Sequence[Mapping[str, Any]],
    task: str,
    output: Path,
    metric: str = "acc",
    limit: int = 0,
    include: str = "",
    dtype: str = "float32",
) -> None:
    """Write a parquet of scores (file, prompt, sample, metric, scorer, version), with a question in a prompt's place.

    settings    for each setting and seed, its generation file, which names it, and its steers with their values

    Raises LMSteerError if the harness has no such task, or the task no such metric per question.
    """
    # Reading the harness's own thousands of tasks takes seconds.
    tasks = TaskManager(include_path=include or None, include_defaults=not include)
    if task not in tasks.all_subtasks and include:
        tasks = TaskManager(include_path=include)
    if task not in tasks.all_subtasks:
        raise LMSteerError(f"lm-evaluation-harness has no task '{task}': choose one of `lm-eval ls tasks`")
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    lm = HFLM(pretrained=str(model), dtype=dtype_of(dtype, device), device=device)
    frames = []
    for one in settings:
        with steered_by(one["steers"])(lm):
            results = simple_evaluate(lm, tasks=[task], task_manager=tasks, limit=limit or None, bootstrap_iters=0)
        samples = results["samples"][task]
        # A question is listed once per filter of the answers: only the first filter is used.
        samples = [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
        samples.sort(key=lambda sample: sample["doc_id"])
        if any(not isinstance(sample.get(metric), int | float) for sample in samples):
            metrics = ", ".join(samples[0]["metrics"])
            raise LMSteerError(f"the task '{task}' has no numeric metric '{metric}': it has {metrics}")
        task_version = f"{task} {results['versions'][task]}, lm-eval {version('lm_eval')}"
        scores = {metric: [float(sample[metric]) for sample in samples]}
        frames.append(scores_of_model(one["file"], scores, "lm-eval", task_version))
    with replacing(output) as temporary:
        pd.concat(frames).to_parquet(temporary, index=False)


if __name__ == "__main__":
    cli_evaluate()
