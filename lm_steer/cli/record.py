"""The record of a run."""

from pathlib import Path
from typing import Annotated

import typer

from lm_steer.cli.app import Output, app
from lm_steer.cli.paths import STUDIED, Reads, Writes, below


@app.command()
def record(
    output: Output,
    study: Annotated[str, typer.Option(help="The whole study as JSON.")],
    benchmarks: Annotated[Path, typer.Option(help="Where time and memory of the steps go, as one table."), Writes()],
    results: Annotated[Path, typer.Option(help="The folder of results."), Reads(below(*STUDIED, "tables"))] = Path(
        "results"
    ),
) -> None:
    """Write down how a run was made: study, versions, machine, checksums of inputs, times and memory.

    lm-steer record --study '{"seeds": …}' -o results/run.json --benchmarks results/benchmarks.csv
    """
    import json

    from lm_steer.record import write_record

    write_record(json.loads(study), results, output, benchmarks)
