"""Steers that leave this package: exported for other engines."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from lm_steer.cli.app import BEYOND, CACHE, OUTPUT, At, Cache, Dtype, Model, SteerFolder, app
from lm_steer.cli.paths import Writes
from lm_steer.util.outputs import EXPORT


@app.command(rich_help_panel=BEYOND)
def export(
    steer: SteerFolder,
    model: Model,
    output: Annotated[Path, OUTPUT, Writes(EXPORT)],
    at: At,
    form: Annotated[
        Literal["checkpoint", "adapter"], typer.Option(help="The whole model, or a LoRA of its head (PEFT).")
    ] = "checkpoint",
    engine: Annotated[str | None, typer.Option(help="What will run it, see `lm-steer engines`.")] = None,
    revision: Annotated[str, typer.Option(help="The commit, for a model of the hub.")] = "",
    dtype: Dtype = "float32",
    cache: Cache = CACHE,
) -> None:
    """Export a steer at fixed values, as a folded checkpoint or a LoRA of the head, and check it.

    lm-steer export --model openai-community/gpt2 --steer my-steer --at "detox=5 corpus=1" --engine vllm -o steered
    """
    from lm_steer.core.steer import Steer
    from lm_steer.core.values import parse_values
    from lm_steer.interop.export import export as write
    from lm_steer.model.obtain import folder_of

    values = parse_values(at)
    found = Steer.from_pretrained(steer)
    error = write(found, values, folder_of(model, cache, revision or None), output, form, engine, dtype)
    print(f"{output}: logits as with the attached steer, to {error:.1g} of its effect")


@app.command(rich_help_panel=BEYOND)
def engines(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Tell which engines run an exported steer, which drop it silently, and how that is known.

    lm-steer engines --json
    """
    from lm_steer.interop.engines import ENGINES, markdown

    print(json.dumps([asdict(engine) for engine in ENGINES]) if as_json else markdown(), end="\n" if as_json else "")
