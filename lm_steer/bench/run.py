"""Benchmark the paper's workload on this machine: lm-steer, plain transformers, and the hardware limit.

    lm-steer bench --shape gpt2-large --dtype bfloat16 --prompts 2000 --samples 25
    lm-steer bench --model results/models/smollm2 --against transformers --against single --against vllm=PYTHON

Each row compares the same work in one run. `plain` is what a user of transformers would write: `generate` on a batch,
training through the whole model with full logits, perplexity of padded batches. `single` is the same one text at a
time, as in the original code; `vllm` is vLLM in a separate environment. The limit is the time for all floating-point
operations at the speed of a measured matrix product, or for all bytes at that of a measured copy, whichever is longer.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lm_steer.bench.measure import Cost, Limit, fastest, hardware, machine_limit, measure
from lm_steer.bench.vllm import vllm_generation
from lm_steer.core.attach import attach
from lm_steer.core.steer import Steer
from lm_steer.generation.continuations import continuations
from lm_steer.generation.memory import requirements
from lm_steer.generation.nucleus import Sampling
from lm_steer.model.load import LoadedModel
from lm_steer.score.perplexity import causal_lm
from lm_steer.score.store import Item
from lm_steer.training.learn import Recipe, learn
from lm_steer.training.texts import LabelledTexts
from lm_steer.util.errors import LMSteerError

SINGLES = 3
NLL_BATCH = 64
DIMENSIONS = ("style", "corpus")
# Ways to do each kind of work: `first` is ours including warm-up, `steered` with a steer attached, `known` with cached
# hidden states.
WAYS = ("ours", "first", "steered", "known", "plain", "single", "vllm")


@dataclass(frozen=True)
class Load:
    """The amount of work: numbers and lengths of prompts, continuations and training texts."""

    prompts: int = 32
    samples: int = 5
    prompt_tokens: int = 12
    new_tokens: int = 20
    top_p: float = 0.9
    steps: int = 4
    batch: int = 16
    text_tokens: int = 32
    rank: int = 1000


def bench(loaded: LoadedModel, load: Load, against: Sequence[str] = ("transformers", "single")) -> dict[str, Any]:
    """Measure generation, training and perplexity, and return the results as one document.

    against     other ways to compare with: transformers (batched), single (one text at a time), vllm=PYTHON

    Each row holds the seconds per unit of every way, None if it was not measured, and the peak memory in bytes of ours
    and of `plain`.
    """
    if loaded.context and load.text_tokens > loaded.context:
        raise LMSteerError(f"texts of {load.text_tokens} tokens do not fit in the model's context of {loaded.context}")
    # First, because another environment is the most likely to fail.
    pythons = [way.removeprefix("vllm=") for way in against if way.startswith("vllm=")]
    prompts = texts(loaded, load.prompts, load.prompt_tokens, seed=0)
    vllm: dict[str, Any] = vllm_generation(pythons[0], loaded, prompts, load) if pythons else {"version": None}
    dtype = loaded.model.get_output_embeddings().weight.dtype
    limit = machine_limit(loaded.device, dtype)
    rows = [work(loaded, load, limit, against) for work in (generation, training, perplexity)]
    if pythons:
        rows[0]["vllm"] = vllm["seconds"] / (load.prompts * load.samples)
    name = str(dtype).removeprefix("torch.")
    return {
        "hardware": hardware(loaded.device),
        "torch": torch.__version__,
        "vllm": vllm["version"],
        "model": loaded.name,
        "dtype": name,
        "load": asdict(load),
        "machine": asdict(limit),
        "memory": asdict(requirements(loaded.model.config, name, load.rank)),
        "rows": rows,
    }


def generation(loaded: LoadedModel, load: Load, limit: Limit, against: Sequence[str]) -> dict[str, Any]:
    """Measure sampling of continuations, with and without a steer."""
    prompts = texts(loaded, load.prompts, load.prompt_tokens, seed=0)
    sampling = Sampling(load.samples, load.new_tokens, load.top_p)
    device, count = loaded.device, load.prompts * load.samples

    def ours() -> Cost:
        return measure(lambda: continuations(loaded, prompts, sampling, "bench"), device)

    runs, steered = [ours()], []
    for _ in range(2):
        with attach(loaded.model, steer_for(loaded, load.rank)) as handle, handle.at(style=5, corpus=1):
            steered.append(ours())
        runs.append(ours())
    costs = {"ours": (fastest(runs), count), "first": (runs[0], count), "steered": (fastest(steered), count)}
    if "transformers" in against:
        batch = prompts[: max(1, (160 if device.type == "cpu" else 1000) // load.samples)]
        plain = measure(lambda: _plain_generation(loaded, batch, load, load.samples), device)
        costs["plain"] = plain, len(batch) * load.samples
    if "single" in against:
        few = prompts[:SINGLES]
        single = measure(lambda: [_plain_generation(loaded, [prompt], load, 1) for prompt in few], device)
        costs["single"] = single, len(few)
    body, head = operations(loaded)
    need = requirements(loaded.model.config, str(loaded.model.dtype).removeprefix("torch."))
    flops = count * load.new_tokens * (body + head) + load.prompts * load.prompt_tokens * body
    # A decode step of all rows at once reads all weights, and each row's keys and values so far.
    length = load.prompt_tokens + load.new_tokens / 2
    bytes_read = load.new_tokens * (need.weights + count * length * need.cache_per_token)
    least = max(flops / limit.flops, bytes_read / limit.bandwidth) / count
    return _row("generation", f"continuation of {load.new_tokens} tokens", least, costs)


def training(loaded: LoadedModel, load: Load, limit: Limit, against: Sequence[str]) -> dict[str, Any]:
    """Measure training steps on new texts, and on texts with cached hidden states."""
    count = load.steps * load.batch
    labelled = LabelledTexts(texts(loaded, count, load.text_tokens, seed=1), [1.0] * count)
    few = LabelledTexts(labelled.texts[:1], labelled.labels[:1])

    def ours(folder: str, seed: int = 0) -> Cost:
        recipe = Recipe(DIMENSIONS, rank=load.rank, steps=load.steps, batch_size=load.batch, seed=seed)
        return measure(lambda: learn(loaded, labelled, few, recipe, folder), loaded.device)

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        runs, known = [ours(one), ours(two)], ours(two, seed=1)
    costs = {"ours": (fastest(runs), load.steps), "first": (runs[0], load.steps), "known": (known, load.steps)}
    if "transformers" in against:
        costs["plain"] = measure(lambda: _plain_training(loaded, labelled.texts, load), loaded.device), load.steps
    body, head = operations(loaded)
    least = load.batch * load.text_tokens * (body + 2 * head) / limit.flops
    return _row("training", f"step of {load.batch} texts of {load.text_tokens} tokens", least, costs)


def perplexity(loaded: LoadedModel, load: Load, limit: Limit, against: Sequence[str]) -> dict[str, Any]:
    """Measure the perplexity of continuations that share prompts."""
    prompts = texts(loaded, load.prompts, load.prompt_tokens, seed=0)
    endings = texts(loaded, load.prompts * load.samples, load.new_tokens, seed=2)
    items = [Item(prompts[i // load.samples], f" {ending}") for i, ending in enumerate(endings)]

    def plain(part: list[Item], batch: int) -> tuple[Cost, int]:
        batches = [part[start : start + batch] for start in range(0, len(part), batch)]
        return measure(lambda: [_plain_nll(loaded, each) for each in batches], loaded.device), len(part)

    runs = [measure(lambda: list(causal_lm(loaded, "bench").judge(items)), loaded.device) for _ in range(2)]
    costs = {"ours": (fastest(runs), len(items)), "first": (runs[0], len(items))}
    if "transformers" in against:
        costs["plain"] = plain(items, NLL_BATCH)
    if "single" in against:
        costs["single"] = plain(items[:SINGLES], 1)
    body, head = operations(loaded)
    flops = len(items) * load.new_tokens * (body + head) + load.prompts * load.prompt_tokens * body
    least = flops / limit.flops / len(items)
    return _row("perplexity", f"continuation of {load.new_tokens} tokens", least, costs)


def _row(work: str, unit: str, limit: float, costs: dict[str, tuple[Cost, int]]) -> dict[str, Any]:
    """Return the row of one kind of work, from the cost and the number of units of each way."""
    seconds = {way: cost.seconds / units for way, (cost, units) in costs.items()}
    peaks = {"peak": costs["ours"][0].peak, "plain_peak": costs["plain"][0].peak if "plain" in costs else None}
    return {"work": work, "unit": unit, **dict.fromkeys(WAYS), **seconds, "limit": limit, **peaks}


def operations(loaded: LoadedModel) -> tuple[int, int]:
    """Return the floating-point operations per token in the body and in the head: two per weight."""
    embedded = {id(module.weight) for module in loaded.model.modules() if isinstance(module, nn.Embedding)}
    head = loaded.model.get_output_embeddings().weight
    body = sum(p.numel() for p in loaded.model.parameters() if id(p) not in embedded and p is not head)
    return 2 * body, 2 * head.numel()


def texts(loaded: LoadedModel, count: int, tokens: int, seed: int) -> list[str]:
    """Draw `count` texts of `tokens` random tokens (approximately, if the tokenizer merges some)."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(10, len(loaded.tokenizer) - 10, (count, tokens), generator=generator)
    return loaded.tokenizer.batch_decode(ids)


def steer_for(loaded: LoadedModel, rank: int) -> Steer:
    """Return an initial steer, as training starts from."""
    width = loaded.model.get_output_embeddings().weight.shape[1]
    return Steer.initial(DIMENSIONS, width, rank=rank, generator=torch.Generator().manual_seed(0))


def _encoded(loaded: LoadedModel, rows: Sequence[str], side: str) -> Any:
    loaded.tokenizer.padding_side = side
    return loaded.tokenizer(list(rows), padding=True, return_tensors="pt").to(loaded.device)


@torch.no_grad()
def _plain_generation(loaded: LoadedModel, prompts: Sequence[str], load: Load, samples: int) -> Tensor:
    model: Any = loaded.model
    return model.generate(
        **_encoded(loaded, prompts, "left"),
        do_sample=True,
        top_p=load.top_p,
        top_k=0,
        min_new_tokens=load.new_tokens,
        max_new_tokens=load.new_tokens,
        num_return_sequences=samples,
        pad_token_id=loaded.tokenizer.pad_token_id,
    )


def _plain_training(loaded: LoadedModel, rows: Sequence[str], load: Load) -> None:
    steer = steer_for(loaded, load.rank)
    a, b = (steer.weights[name].to(loaded.device).requires_grad_() for name in "AB")
    optimizer = torch.optim.Adam([a, b], lr=1e-2)

    def steered(_module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        down = torch.einsum("btd,kdr->btkr", inputs[0], b.to(inputs[0].dtype))
        return inputs[0] + 1e-3 * torch.einsum("btkr,kdr->btd", down, a.to(inputs[0].dtype))

    hook = loaded.model.get_output_embeddings().register_forward_pre_hook(steered)
    for start in range(0, len(rows), load.batch):
        encoded = _encoded(loaded, rows[start : start + load.batch], "right")
        labels = encoded["input_ids"].masked_fill(encoded["attention_mask"] == 0, -100)
        optimizer.zero_grad()
        loaded.model(**encoded, labels=labels).loss.backward()
        optimizer.step()
    hook.remove()


@torch.no_grad()
def _plain_nll(loaded: LoadedModel, items: Sequence[Item]) -> list[float]:
    """Return NLL(whole) - NLL(prompt) per item, from the full logits of both."""
    sums = []
    for rows in ([item.prompt + item.continuation for item in items], [item.prompt for item in items]):
        encoded = _encoded(loaded, rows, "right")
        logits = loaded.model(**encoded).logits[:, :-1].float()
        nll = nn.functional.cross_entropy(logits.transpose(1, 2), encoded["input_ids"][:, 1:], reduction="none")
        sums.append((nll * encoded["attention_mask"][:, 1:]).sum(1))
    return (sums[0] - sums[1]).tolist()
