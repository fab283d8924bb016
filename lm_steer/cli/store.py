"""Scores that are kept: listed, passed on, taken in."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lm_steer.cli.app import CACHE, Cache, Commands, Output, app
from lm_steer.cli.paths import Reads
from lm_steer.errors import presentable

store = Commands(no_args_is_help=True, help="Scores that are kept: list them, pass them on, take them in.")
app.add_typer(store, name="store")


@store.command("export")
def store_export(
    output: Output,
    scorer: Annotated[str | None, typer.Option(help="Its scores alone.")] = None,
    version: Annotated[str | None, typer.Option(help="Those of one version alone.")] = None,
    file: Annotated[
        list[str] | None, typer.Option(help="A generation file whose texts are written out."), Reads()
    ] = None,
    cache: Cache = CACHE,
) -> None:
    """Write kept scores as JSON lines, to be imported elsewhere.

    lm-steer store export --scorer perspective -o scores.jsonl
    """
    from lm_steer.score.exchange import export_scores
    from lm_steer.score.store import STORE, ScoreStore

    export_scores(ScoreStore(cache / STORE), output, scorer, version, file or ())


@store.command("import")
def store_import(
    path: Annotated[list[Path], typer.Argument(help="Files of `lm-steer store export`.")], cache: Cache = CACHE
) -> None:
    """Take in scores of JSON lines; one that is there with another value is refused.

    lm-steer store import scores.jsonl
    """
    from lm_steer.score.exchange import import_scores
    from lm_steer.score.store import STORE, ScoreStore

    for file in path:
        import_scores(ScoreStore(cache / STORE), file)


@store.command("list")
def store_list(
    cache: Cache = CACHE, as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False
) -> None:
    """Say which scorers and versions have scores, of how many texts, and when they were made (UTC).

    lm-steer store list --json
    """
    from lm_steer.score.store import STORE, ScoreStore

    # Opening a store makes its file: to look at none makes nothing.
    for held in ScoreStore(cache / STORE).holdings() if (cache / STORE).exists() else ():
        if as_json:
            print(json.dumps(asdict(held)))
            continue
        print(presentable(f"{held.scorer}\t{held.version}\t{held.texts} texts\t{held.first} to {held.last}"))
