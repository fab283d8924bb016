"""The record of a run."""

from pathlib import Path
from typing import Annotated

import typer

from lm_steer.cli.app import RESULTS, Output, StudyFile, app
from lm_steer.cli.paths import STUDIED, Reads, Writes, below


@app.command(rich_help_panel=RESULTS)
def record(
    output: Output,
    study: StudyFile,
    benchmarks: Annotated[Path, typer.Option(help="Where time and memory of the steps go, as one table."), Writes()],
    results: Annotated[Path, typer.Option(help="The folder of results."), Reads(below(*STUDIED, "tables"))] = Path(
        "results"
    ),
) -> None:
    """Write down how a run was made: study, versions, machine, checksums of inputs, times and memory.

    lm-steer record --study results/study.json -o results/run.json --benchmarks results/benchmarks.csv
    """
    from lm_steer.report.run_record import write_record
    from lm_steer.study.config import read_study

    write_record(read_study(study), results, output, benchmarks)
