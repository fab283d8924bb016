"""What the values of a steer cost, and which to take."""

from pathlib import Path
from typing import Annotated

import typer

from lm_steer.cli.app import CACHE, RESULTS, Cache, Dimension, Dtype, Model, SteerFolder, app
from lm_steer.cli.paths import Writes
from lm_steer.util import options
from lm_steer.util.gpu_lease import leased_device


@app.command(rich_help_panel=RESULTS)
@leased_device()
def calibrate(
    model: Model,
    steer: SteerFolder,
    dimension: Dimension,
    texts: Annotated[Path | None, typer.Option(help="Texts (.csv, .jsonl, .parquet), the first 64.")] = None,
    text_column: Annotated[str, typer.Option(help="The column of the texts.")] = "text",
    generations: Annotated[
        Path | None, typer.Option(help="Instead, a generation file: its continuations are measured.")
    ] = None,
    held: Annotated[str, typer.Option(help="Values of the other dimensions, `corpus=1`.")] = "",
    at_kl: Annotated[options.AboveZero, typer.Option(help="What the recommended value costs, in nats a token.")] = 0.5,
    value: Annotated[
        list[float] | None, options.A_STEER_VALUE, typer.Option(help="A value of the grid; repeated.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the table goes, .csv or .json."), Writes()
    ] = None,
    dtype: Dtype = "float32",
    cache: Cache = CACHE,
) -> None:
    """Measure what the values of a steer cost on texts, recommend one, and say where quality breaks.

    lm-steer calibrate --model gpt2 --steer my-steer --dimension style --texts reviews.csv --text-column review
    """
    import lm_steer
    from lm_steer.analyse.calibrate import TEXTS, write_calibration
    from lm_steer.core.values import parse_values
    from lm_steer.data.labelled import read_frame
    from lm_steer.data.prompt_files import read_generations
    from lm_steer.util.errors import LMSteerError
    from lm_steer.util.formats import require_columns

    if (texts is None) == (generations is None):
        raise LMSteerError("give the texts by --texts, or by --generations, and by one of them alone")
    if output and output.suffix not in (".csv", ".json"):
        raise LMSteerError(f"--output: {output} is neither a .csv nor a .json")
    prompts = None
    if texts:
        frame = read_frame(texts)
        require_columns(frame, [text_column], texts)
        chosen = list(frame[text_column])
    else:
        assert generations
        rows = list(zip(*read_generations(generations), strict=True))
        prompts = [prompt for prompt, samples in rows for _ in samples][:TEXTS]
        chosen = [sample for _, samples in rows for sample in samples]
    loaded = lm_steer.load_model(lm_steer.folder_of(model, cache), dtype)
    curve = lm_steer.calibrate(
        lm_steer.Steer.from_pretrained(steer),
        loaded,
        chosen[:TEXTS],
        dimension,
        prompts=prompts,
        held=parse_values(held),
        values=value,
        at_kl=at_kl,
        cache=cache / "texts.sqlite",
    )
    if output:
        write_calibration(curve, output)
    print(f"{'value':>10} {'KL':>8} {'perplexity':>11}")
    for point in curve.points:
        print(f"{point.value:>10g} {point.kl:>8.3f} {point.perplexity:>11.4g}")
    print("\n".join([f"unsteered perplexity {curve.unsteered:.4g}; KL in nats per token", *curve.advice()]))
