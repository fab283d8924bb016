"""Tables and the page."""

from pathlib import Path
from typing import Annotated

import typer

from lm_steer.cli.app import Output, app


@app.command()
def table(
    output: Output,
    spec: Annotated[str, typer.Option(help="The table as JSON: rows, settings, scorers, models, seeds.")],
    results: Annotated[Path, typer.Option(help="The folder of results.")] = Path("results"),
) -> None:
    """Compute one table: every metric with its interval and its difference to the unsteered row.

    lm-steer table --spec '{"rows": …}' -o results/tables/detoxification.csv
    """
    from lm_steer.report.tables import write_table

    write_table(spec, results, output)


@app.command()
def page(
    output: Output,
    study: Annotated[str, typer.Option(help="The whole study as JSON.")],
    results: Annotated[Path, typer.Option(help="The folder of results.")] = Path("results"),
) -> None:
    """Make the report: one self-contained HTML page.

    lm-steer page --study '{"tables": …}' -o reports/index.html
    """
    from lm_steer.report.page import write_page

    write_page(study, results, output)
