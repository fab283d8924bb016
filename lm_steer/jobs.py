"""Generation jobs: which prompts, with which steers at which values, into which file.

    parse_job("out.jsonl|prompts.jsonl|results/steers/smollm2/detox/seed0 detox=5 corpus=1")

One process runs all jobs of a model, for loading it is dear.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from lm_steer.attach import attach
from lm_steer.errors import LMSteerError
from lm_steer.files import read_jsonl, sha256_of, write_jsonl
from lm_steer.generate import Sampling, generate, parts_folder
from lm_steer.models import LoadedModel
from lm_steer.shards import WHOLE, Shard
from lm_steer.steer import FILES, Steer, compose, located
from lm_steer.texts import read_prompts

FORM = (
    "a job is OUT|PROMPTS|STEER, or OUT|PROMPTS|STEER|SAMPLING: STEER is `FOLDER name=value …`, several joined by "
    "` + `, or empty; SAMPLING is `top_p=1.0 top_k=50`, what differs from the options"
)


@dataclass(frozen=True)
class Job:
    """One generation file to be made.

    `steers` maps a folder to the values of its dimensions; `sampling` has what differs from the command's options.
    """

    output: Path
    prompts: Path
    steers: dict[str, dict[str, float]]
    sampling: dict[str, float] = field(default_factory=dict)


def parse_job(text: str) -> Job:
    """Read a job as it is written on the command line; LMSteerError where it is not well-formed."""
    parts = text.split("|")
    if len(parts) not in (3, 4) or not parts[0] or not parts[1]:
        raise LMSteerError(f"{text!r}: {FORM}")
    steers: dict[str, dict[str, float]] = {}
    for term in parts[2].split(" + ") if parts[2].strip() else []:
        folder, *assignments = term.split()
        if folder in steers:
            raise LMSteerError(f"{folder} stands twice in {text!r}: give all its values in one term")
        steers[folder] = _numbers(assignments, text)
    sampling = _numbers(parts[3].split() if len(parts) == 4 else [], text)
    known = {option.name: type(option.default) for option in fields(Sampling)}
    for name in sampling:
        if name not in known:
            raise LMSteerError(f"{text!r}: unknown sampling option '{name}'; known are {', '.join(known)}")
    return Job(Path(parts[0]), Path(parts[1]), steers, {name: known[name](sampling[name]) for name in sampling})


def parse_values(text: str) -> dict[str, float]:
    """Read steer values as they are written on the command line, `detox=5 corpus=1`."""
    return _numbers(text.split(), text, "values are written `detox=5 corpus=1`")


def _numbers(assignments: Sequence[str], text: str, form: str = FORM) -> dict[str, float]:
    numbers = {}
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        try:
            numbers[name] = float(value)
        except ValueError:
            raise LMSteerError(f"{assignment!r} in {text!r} is not name=number: {form}") from None
    return numbers


def load_steer(steers: dict[str, dict[str, float]]) -> tuple[Steer, dict[str, float]]:
    """Return one steer and its values; several are composed, their dimensions qualified by the folder's name."""
    loaded = {folder: Steer.from_pretrained(folder) for folder in steers}
    for folder, values in steers.items():
        loaded[folder].vector(values)
    if len(loaded) == 1:
        (folder,) = loaded
        return loaded[folder], steers[folder]
    values = {f"{folder}.{name}": value for folder, named in steers.items() for name, value in named.items()}
    return compose(loaded), values


def run_jobs(
    jobs: Sequence[Job],
    load: Callable[[], LoadedModel],
    sampling: Sampling,
    cache: str | Path,
    shard: Shard = WHOLE,
) -> None:
    """Make every job's file, of all its prompts or of one shard of them.

    Prompts and steers of all are read first: a bad one is found before any work.
    """
    rows = [read_jsonl(job.prompts) for job in jobs]
    prompts = [read_prompts(job.prompts) for job in jobs]
    rows = [part[shard.of(len(part))] for part in rows]
    prompts = [part[shard.of(len(part))] for part in prompts]
    steers = [load_steer(job.steers) if job.steers else None for job in jobs]
    loaded = load()
    for job, job_rows, job_prompts, steer in zip(jobs, rows, prompts, steers, strict=True):
        identity = [
            [*(sha256_of(located(folder) / file) for file in FILES), values] for folder, values in job.steers.items()
        ]
        chosen = replace(sampling, **job.sampling)
        parts = parts_folder(cache, loaded, identity, chosen)
        handle = attach(loaded.model, steer[0]) if steer else None
        try:
            with handle.at(steer[1]) if handle and steer else nullcontext():
                texts = generate(loaded, job_prompts, chosen, job.output.stem, parts) if job_prompts else []
        finally:
            if handle:
                handle.remove()
        write_jsonl(
            job.output,
            (
                {**row, "generations": [{"text": text} for text in samples]}
                for row, samples in zip(job_rows, texts, strict=True)
            ),
        )
