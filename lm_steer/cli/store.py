"""Scores that are kept: listed, passed on, taken in."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lm_steer.cli.app import CACHE, SCORES, Cache, Commands, Output, app
from lm_steer.cli.paths import Reads
from lm_steer.util.errors import LMSteerError, presentable

if TYPE_CHECKING:
    from lm_steer.score.store import ScoreStore

store = Commands(no_args_is_help=True, help="Scores that are kept: list them, pass them on, take them in.")
app.add_typer(store, name="store", rich_help_panel=SCORES)


def _opened(cache: Path) -> "ScoreStore":
    """Open the store of a cache folder; LMSteerError where there is none, for to open one makes its file."""
    from lm_steer.score.store import STORE, ScoreStore

    if not (cache / STORE).is_file():
        raise LMSteerError(f"--cache: {cache} has no scores: name the cache folder of a run that has scored texts")
    return ScoreStore(cache / STORE)


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

    export_scores(_opened(cache), output, scorer, version, file or ())


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
    for held in _opened(cache).holdings():
        if as_json:
            print(json.dumps(asdict(held)))
            continue
        print(presentable(f"{held.scorer}\t{held.version}\t{held.texts} texts\t{held.first} to {held.last}"))
