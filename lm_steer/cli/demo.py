"""The playground: a page to try a steer on."""

from pathlib import Path
from typing import Annotated

import typer

from lm_steer.cli.app import BEYOND, CACHE, Cache, Dtype, app
from lm_steer.util.errors import needs
from lm_steer.util.options import A_PORT


@app.command(rich_help_panel=BEYOND)
def demo(
    model: Annotated[str, typer.Option(help="As elsewhere; without, the first of the last run with steers.")] = "",
    steer: Annotated[list[Path] | None, typer.Option(help="A steer's folder; repeated. Without: the run's.")] = None,
    results: Annotated[Path, typer.Option(help="The folder of the last run's results.")] = Path("results"),
    host: Annotated[str, typer.Option(help="Where it listens; 0.0.0.0 opens it to the network.")] = "127.0.0.1",
    port: Annotated[int | None, A_PORT, typer.Option(help="Without: the first free one from 7860.")] = None,
    dtype: Dtype = "float32",
    cache: Cache = CACHE,
) -> None:
    """Open a playground in the browser: unsteered and steered side by side, evidence, words.

    lm-steer demo --model results/models/smollm2 --steer results/steers/smollm2/sentiment/seed0
    """
    with needs("demo"):
        import gradio  # noqa: F401

    from lm_steer.demo import Playground, last_run, serve
    from lm_steer.model.load import load_model
    from lm_steer.model.obtain import folder_of

    place, found = last_run(results, model, steer or ())
    loaded = load_model(folder_of(place, cache), dtype)
    serve(Playground(loaded, found.attach(loaded.model)), host, port)
