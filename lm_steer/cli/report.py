"""Tables, figures, the page and the record of a run; two runs compared."""

from pathlib import Path
from typing import Annotated

import typer

from lm_steer.cli import arguments as arg
from lm_steer.cli.app import RESULTS, Commands, app
from lm_steer.cli.paths import SHOWN, STUDIED, Reads, Writes
from lm_steer.util.errors import needs, presentable
from lm_steer.util.outputs import ARCHIVE, FIGURES

report = Commands(no_args_is_help=True, help="The page of a run and its figures; a comparison of two runs.")
app.add_typer(report, name="report", rich_help_panel=RESULTS)

Run = Annotated[Path, arg.FOLDER, Reads(*SHOWN)]
Config = Annotated[Path | None, typer.Option(help="The study of the run; by default RESULTS/study.json.")]


@app.command(rich_help_panel=RESULTS)
def table(
    output: arg.Output,
    study: arg.StudyFile,
    name: Annotated[str, typer.Option(help="One of the study's tables, or an analysis with a table.")],
    results: arg.Results = Path("results"),
) -> None:
    """Compute one table: every metric with its interval and its difference from the unsteered row.

    lm-steer table --study results/study.json --name detoxification -o results/tables/detoxification.csv
    """
    from lm_steer.tables.table import write_table

    write_table(arg.part_of(study, "table", table=name), results, output)


@app.command(rich_help_panel=RESULTS)
def record(
    output: arg.Output,
    study: arg.StudyFile,
    benchmarks: Annotated[Path, typer.Option(help="Where to write a table of the steps' time and memory."), Writes()],
    results: Annotated[Path, arg.FOLDER, Reads(*STUDIED, "tables")] = Path("results"),
) -> None:
    """Record how a run was made: study, versions, machine, checksums of inputs, times and memory.

    lm-steer record --study results/study.json -o results/run.json --benchmarks results/benchmarks.csv
    """
    from lm_steer.report.provenance import write_record
    from lm_steer.study.config import read_study

    write_record(read_study(study), results, output, benchmarks)


@report.command()
def page(output: arg.Output = Path("reports/index.html"), results: Run = Path("results"), study: Config = None) -> None:
    """Write the report of a run, finished or not, as one self-contained HTML page.

    lm-steer report page --results results -o reports/index.html
    """
    with needs("report"):
        from lm_steer.report.page import write_page
    from lm_steer.study.config import read_study

    write_page(read_study(study or results / "study.json"), results, output)


@report.command()
def figures(
    output: Annotated[Path, arg.OUTPUT, Writes(FIGURES)], results: Run = Path("results"), study: Config = None
) -> None:
    """Draw the figures of the page as SVG files.

    lm-steer report figures -o results/figures
    """
    with needs("report"):
        from lm_steer.report.study_figures import write_figures
    from lm_steer.study.config import read_study

    write_figures(read_study(study or results / "study.json"), results, output)


@report.command()
def publish(output: arg.Output = Path("run.zip"), results: Run = Path("results")) -> None:
    """Pack generations, scores, steers with their cards, tables and the study of a run into one .zip.

    lm-steer report publish --results results -o run.zip
    """
    with needs("report"):
        from lm_steer.report.archive import publish as publish_run

    print(f"{publish_run(results, output)} files in {output}")


@report.command()
def fetch(
    archive: Annotated[Path, typer.Argument(help="A .zip of `lm-steer report publish`.")],
    output: Annotated[Path, arg.OUTPUT, Writes(ARCHIVE)],
) -> None:
    """Unpack a published run as a folder of results, checking every file's sha256.

    lm-steer report fetch run.zip -o published && lm-steer report page --results published -o published.html
    """
    with needs("report"):
        from lm_steer.report.archive import fetch as fetch_run

    print(f"{fetch_run(archive, output)} files in {output}")


@report.command()
def compare(
    first: Annotated[Path, typer.Argument(help="The results folder of a run.")],
    second: Annotated[Path, typer.Argument(help="The results folder of another run.")],
    as_json: arg.AsJson = False,
) -> None:
    """List the cells that moved beyond their intervals between two runs, and how the runs differ.

    lm-steer report compare old/results results
    """
    import json
    from dataclasses import asdict

    from lm_steer.report.compare import as_text
    from lm_steer.report.compare import compare as compare_runs

    comparison = compare_runs(first, second)
    print(json.dumps(asdict(comparison)) if as_json else presentable(as_text(comparison)))
