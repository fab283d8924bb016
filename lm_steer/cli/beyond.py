"""Beyond the study: steers for other engines, a playground, and benchmarks of this machine."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from lm_steer.cli import arguments as arg
from lm_steer.cli.app import BEYOND, With, app
from lm_steer.cli.paths import Input, Writes
from lm_steer.util import options
from lm_steer.util.errors import LMSteerError, needs
from lm_steer.util.outputs import EXPORT


@app.command(rich_help_panel=BEYOND)
def export(
    steer: arg.SteerFolder,
    model: arg.Model,
    output: Annotated[Path, arg.OUTPUT, Writes(EXPORT)],
    at: arg.At,
    form: Annotated[
        Literal["checkpoint", "adapter"], typer.Option(help="The whole model, or a LoRA of its head (PEFT).")
    ] = "checkpoint",
    engine: Annotated[str | None, typer.Option(help="The engine to run it, see `lm-steer engines`.")] = None,
    python: Annotated[Input, typer.Option(help="The Python of llama.cpp's environment, to make a GGUF.")] = "",
    outtype: Annotated[
        Literal["", "f32", "f16", "bf16", "q8_0"], typer.Option(help="The type of the GGUF; by default --dtype.")
    ] = "",
    revision: arg.Revision = "",
    dtype: arg.Dtype = "float32",
    cache: arg.Cache = arg.CACHE,
) -> None:
    """Export a steer at fixed values, as a folded checkpoint or a LoRA of the head, and check it.

    lm-steer export --model openai-community/gpt2 --steer my-steer --at "detox=5 corpus=1" --engine vllm -o steered
    """
    from lm_steer.core.steer import Steer
    from lm_steer.core.values import parse_values
    from lm_steer.interop.export import export as write
    from lm_steer.model.obtain import folder_of

    values, learned = parse_values(at), Steer.from_pretrained(steer)
    folder = folder_of(model, cache, revision or None)
    error = write(learned, values, folder, output, form, engine, dtype, python, outtype)
    print(f"{output}: logits as with the attached steer, to {error:.1g} of its effect")


@app.command(rich_help_panel=BEYOND)
def engines(as_json: arg.AsJson = False) -> None:
    """List which engines run an exported steer, which drop it silently, and how that is known.

    lm-steer engines --json
    """
    from lm_steer.interop.engines import engines as listed
    from lm_steer.interop.engines import markdown

    print(json.dumps([asdict(engine) for engine in listed()]) if as_json else markdown(), end="\n" if as_json else "")


@app.command(rich_help_panel=BEYOND)
def demo(
    model: Annotated[str, typer.Option(help="A model; by default the first with steers of the last run.")] = "",
    steer: Annotated[list[Path] | None, typer.Option(help="A steer's folder; repeated. By default the run's.")] = None,
    results: Annotated[Path, typer.Option(help="The folder of the last run's results.")] = Path("results"),
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 opens it to all.")] = "127.0.0.1",
    port: Annotated[int | None, options.A_PORT, typer.Option(help="By default the first free one from 7860.")] = None,
    dtype: arg.Dtype = "float32",
    cache: arg.Cache = arg.CACHE,
) -> None:
    """Open a playground in the browser: unsteered and steered side by side, evidence, words.

    lm-steer demo --model results/models/smollm2 --steer results/steers/smollm2/sentiment/seed0
    """
    with needs("demo"):
        import gradio  # noqa: F401

    from lm_steer.demo.page import serve
    from lm_steer.demo.playground import Playground, joined, last_run
    from lm_steer.model.load import load_model
    from lm_steer.model.obtain import folder_of

    place, folders = last_run(results, model, steer or ())
    loaded = load_model(folder_of(place, cache), dtype)
    serve(Playground(loaded, joined(folders).attach(loaded.model), place, folders), host, port)


@app.command(rich_help_panel=BEYOND)
def bench(
    model: Annotated[Input, typer.Option(help="A model, as for other commands; instead of a shape.")] = "",
    shape: Annotated[
        str, typer.Option(help="Random weights of a known shape: gpt2, gpt2-large, …"), With("model", False)
    ] = "pythia-70m",
    device: Annotated[str, typer.Option(help="cpu or cuda; by default the first GPU, if any.")] = "",
    dtype: arg.Dtype = "float32",
    prompts: Annotated[options.Positive, typer.Option(help="Prompts to continue.")] = 32,
    samples: Annotated[options.Samples, typer.Option(help="Continuations per prompt.")] = 5,
    new_tokens: options.NewTokens = 20,
    top_p: options.TopP = 0.9,
    steps: Annotated[options.Steps, typer.Option(help="Training steps.")] = 4,
    batch: Annotated[options.BatchSize, typer.Option(help="Texts per step.")] = 16,
    text_tokens: Annotated[options.AtLeastTwo, typer.Option(help="Tokens per training text.")] = 32,
    rank: options.Rank = 1000,
    against: Annotated[
        list[str],
        typer.Option(help="What to compare with: transformers (batched), single (one text at a time), vllm=PYTHON."),
    ] = ["transformers", "single"],  # noqa: B006
    cache: arg.Cache = arg.CACHE,
) -> None:
    """Benchmark generation, training and perplexity against plain transformers and the machine's limit.

    The last line has all results as JSON.

    lm-steer bench --shape gpt2-large --dtype bfloat16 --prompts 1000 --samples 25
    """
    from lm_steer.bench.run import Load
    from lm_steer.bench.run import bench as run
    from lm_steer.bench.shapes import random_model
    from lm_steer.bench.table import table
    from lm_steer.model.load import load_model
    from lm_steer.model.obtain import folder_of

    known = ("transformers", "single")
    if unknown := [way for way in against if way not in known and (way == "vllm=" or not way.startswith("vllm="))]:
        raise LMSteerError(f"--against: expected transformers, single or vllm=PYTHON, found {unknown[0]!r}")
    load = Load(prompts, samples, 12, new_tokens, top_p, steps, batch, text_tokens, rank)
    if model:
        loaded = load_model(folder_of(model, cache), dtype, device or None)
    else:
        loaded = random_model(shape, dtype, device or None)
    results = run(loaded, load, against)
    print(table(results))
    print(json.dumps(results))
