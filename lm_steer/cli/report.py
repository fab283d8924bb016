"""Tables, figures and the page; two runs compared."""

from pathlib import Path
from typing import Annotated

import typer

from lm_steer.cli.app import OUTPUT, Commands, Output, app
from lm_steer.cli.paths import SHOWN, STUDIED, Reads, Writes, below, made_from
from lm_steer.util.errors import needs, presentable
from lm_steer.util.outputs import FIGURES

report = Commands(no_args_is_help=True, help="The page of a run and its figures; what differs between two runs.")
app.add_typer(report, name="report")

Results = Annotated[Path, typer.Option(help="The folder of results."), Reads(below(*SHOWN))]
Kept = Annotated[Path | None, typer.Option(help="The study, as the workflow keeps it; by default RESULTS/study.json.")]


@app.command()
def table(
    output: Output,
    spec: Annotated[Path, typer.Option(help="The table as a JSON file: rows, settings, scorers, models, seeds.")],
    results: Annotated[Path, typer.Option(help="The folder of results."), Reads(below(*STUDIED))] = Path("results"),
) -> None:
    """Compute one table: every metric with its interval and its difference to the unsteered row.

    lm-steer table --spec table.json -o results/tables/detoxification.csv
    """
    from lm_steer.tables.table import write_table
    from lm_steer.util.files import read_text

    with made_from(spec):
        write_table(read_text(spec), results, output)


@report.command()
def study(output: Output, study: Annotated[Path, typer.Option(help="The whole study as a JSON file.")]) -> None:
    """Keep a study beside its results, so that pages and comparisons need no config.

    lm-steer report study --study study.json -o results/study.json
    """
    from lm_steer.report.study_file import STUDY
    from lm_steer.util.files import fitting, read_json, write_json

    write_json(output, fitting(read_json(study), STUDY, study))


@report.command()
def page(output: Output = Path("reports/index.html"), results: Results = Path("results"), study: Kept = None) -> None:
    """Make the report, one self-contained HTML page, of a run that is finished or not.

    lm-steer report page --results results -o reports/index.html
    """
    with needs("report"):
        from lm_steer.report.page import write_page
    from lm_steer.util.files import read_text

    with made_from(study or results / "study.json") as path:
        write_page(read_text(path), results, output, path)


@report.command()
def figures(
    output: Annotated[Path, OUTPUT, Writes(FIGURES)], results: Results = Path("results"), study: Kept = None
) -> None:
    """Draw the figures of the page as SVG files.

    lm-steer report figures -o results/figures
    """
    with needs("report"):
        from lm_steer.report.study_figures import write_figures
    from lm_steer.util.files import read_text

    with made_from(study or results / "study.json") as path:
        write_figures(read_text(path), results, output, path)


@report.command()
def compare(
    first: Annotated[Path, typer.Argument(help="The results folder of a run.")],
    second: Annotated[Path, typer.Argument(help="That of another.")],
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Say which cells moved beyond their intervals from one run to another, and what differs between them.

    lm-steer report compare old/results results
    """
    import json

    from lm_steer.report.compare import compare as compare_runs
    from lm_steer.report.compare import told

    comparison = compare_runs(first, second)
    print(json.dumps(comparison.as_dict()) if as_json else presentable(told(comparison)))
