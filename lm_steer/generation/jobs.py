"""Generation jobs: the prompts, steers with values, and output file of each.

    Job(Path("out.jsonl"), Path("prompts.jsonl"), steers_at(["my-steer"], ["detox=5 corpus=1"]))

One process runs all jobs of a model, because loading the model is expensive.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from lm_steer.core.attach import attach
from lm_steer.core.steer import Steer, compose
from lm_steer.core.stored import FILES, located
from lm_steer.core.values import parse_values
from lm_steer.data.prompt_files import as_chat, prompt_of_row, read_lines
from lm_steer.data.shards import WHOLE, Shard
from lm_steer.generation.continuations import continuations, parts_folder
from lm_steer.generation.nucleus import Sampling
from lm_steer.model.load import LoadedModel
from lm_steer.training.lora import adapted, is_adapter
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import sha256_of, write_jsonl
from lm_steer.util.messages import ChatPrompt, holds_messages, prompt_of, with_system


@dataclass(frozen=True)
class Job:
    """One generation file to write.

    `steers` maps folders to the values of their dimensions; a PEFT adapter may take the place of a steer. `sampling`
    overrides the command's options. `prefix` is put before each prompt, or the system message `system` before each chat
    prompt; neither appears in the file. With `chat`, every prompt is a user message.
    """

    output: Path
    prompts: Path
    steers: dict[str, dict[str, float]]
    sampling: dict[str, Any] = field(default_factory=dict)
    prefix: str = ""
    system: str = ""
    chat: bool = False

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the prompt file."""
        rows = read_lines(self.prompts)
        return as_chat(rows) if self.chat else rows

    def inputs(self, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Return rows' prompts with prefix or system message; LMSteerError if prompts do not take the one given."""
        prompts = [prompt_of_row(row) for row in rows]
        chats = [isinstance(prompt, ChatPrompt) for prompt in prompts]
        if self.system and not all(chats):
            raise LMSteerError(f"{self.prompts}: a system message is for chat prompts: mark them by `chat`")
        if self.prefix and any(map(holds_messages, prompts)):
            raise LMSteerError(f"{self.prompts}: messages take no prefix: use a system message instead")
        return [
            prompt_of(with_system(self.prefix + prompt, self.system), chat)
            for prompt, chat in zip(prompts, chats, strict=True)
        ]


def steers_at(folders: Sequence[str], values: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the values of each steer, from the options --steer and --at; a single adapter needs no values."""
    if len(values) != len(folders) and not (len(folders) == 1 and not values and is_adapter(folders[0])):
        raise LMSteerError(
            f'expected one --at for each --steer, as `--steer my-steer --at "style=5 corpus=1"`, found '
            f"{len(values)} for {len(folders)}"
        )
    for folder in folders:
        if folders.count(folder) > 1:
            raise LMSteerError(f"--steer names {folder} twice: give all its values in one --at")
    return {folder: parse_values(text) for folder, text in zip_longest(folders, values, fillvalue="")}


def load_steer(steers: dict[str, dict[str, float]]) -> tuple[Steer, dict[str, float]]:
    """Return one steer and its values; several steers are composed, with dimensions qualified by folder name."""
    loaded = {folder: Steer.from_pretrained(folder) for folder in steers}
    for folder, values in steers.items():
        loaded[folder].vector(values)
    if len(loaded) == 1:
        (folder,) = loaded
        return loaded[folder], steers[folder]
    values = {f"{folder}.{name}": value for folder, at in steers.items() for name, value in at.items()}
    return compose(loaded), values


def run_jobs(
    jobs: Sequence[Job],
    load: Callable[[], LoadedModel],
    sampling: Sampling,
    cache: str | Path,
    shard: Shard = WHOLE,
) -> None:
    """Write every job's file, for all of its prompts or for one shard of them.

    All prompts and steers are read first, so that errors in them are found before any work.
    """
    rows = [job.rows() for job in jobs]
    rows = [part[shard.of(len(part))] for part in rows]
    prompts = [job.inputs(part) for job, part in zip(jobs, rows, strict=True)]
    changes = [_changed_by(job) for job in jobs]
    samplings = [replace(sampling, **job.sampling) for job in jobs]
    loaded = load()
    for job, job_rows, job_prompts, change, job_sampling in zip(jobs, rows, prompts, changes, samplings, strict=True):
        identity = [[*map(sha256_of, _files(folder)), values] for folder, values in job.steers.items()]
        parts = parts_folder(cache, loaded, identity, job_sampling)
        with change(loaded):
            texts = continuations(loaded, job_prompts, job_sampling, job.output.stem, parts) if job_prompts else []
        write_jsonl(
            job.output,
            (
                {**row, "generations": [{"text": text} for text in samples]}
                for row, samples in zip(job_rows, texts, strict=True)
            ),
        )


def _changed_by(job: Job) -> Callable[[LoadedModel], AbstractContextManager]:
    """Return the context manager that applies a job's steers, or its adapter, to a model."""
    adapters = [folder for folder in job.steers if is_adapter(folder)]
    if adapters and (len(job.steers) > 1 or job.steers[adapters[0]]):
        raise LMSteerError(f"{adapters[0]} is a LoRA adapter: use it alone, without values or other steers")
    if adapters:
        return lambda loaded: adapted(loaded, adapters[0])
    return steered_by(job.steers)


def steered_by(steers: dict[str, dict[str, float]]) -> Callable[[Any], AbstractContextManager]:
    """Return the context manager that applies steers, by folder, to the attribute `model` of an object."""
    if not steers:
        return nullcontext
    steer, values = load_steer(steers)
    return lambda loaded: _steered(loaded.model, steer, values)


@contextmanager
def _steered(model: PreTrainedModel, steer: Steer, values: dict[str, float]) -> Iterator[None]:
    handle = attach(model, steer)
    try:
        with handle.at(values):
            yield
    finally:
        handle.remove()


def _files(folder: str) -> list[Path]:
    """Return the files that define a steer or an adapter."""
    if is_adapter(folder):
        return [Path(folder) / name for name in ("adapter_model.safetensors", "adapter_config.json")]
    return [located(folder) / name for name in FILES]
