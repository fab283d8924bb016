"""A LoRA baseline with at most as many parameters as a steer, trained only on texts of one style.

    lm-steer analyse lora --model results/models/smollm2 --texts train.parquet --labels 0.25 1 \\
        --budget-rank 512 --steps 60 -o results/adapters/smollm2/mood-lora/seed0

The adapter is saved in PEFT's format; `lm-steer generate` takes its folder in place of a steer's. This is the paper's
LoRA row.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from lm_steer.data.labelled import drawn
from lm_steer.model.load import LoadedModel
from lm_steer.util.errors import LMSteerError, needs
from lm_steer.util.files import read_json, reading, replacing
from lm_steer.util.formats import read_tensors
from lm_steer.util.outputs import ADAPTER
from lm_steer.util.progress import Progress

TARGETS = "all-linear"


def is_adapter(folder: str | Path) -> bool:
    """Whether a folder holds a PEFT adapter."""
    return (Path(folder) / "adapter_config.json").exists()


@contextmanager
def adapted(loaded: LoadedModel, folder: str | Path) -> Iterator[None]:
    """Apply an adapter to a model within a `with` block."""
    with needs("peft"):
        from peft import PeftModel

    # PEFT's own `unload` keeps modules that an adapter replaces whole (`modules_to_save`).
    parts = [(module, *child) for module in loaded.model.modules() for child in module.named_children()]
    weights = list(loaded.model.parameters())
    try:
        with reading(folder, "an adapter that fits the model"), warnings.catch_warnings():
            # PEFT only warns about weights that are missing or misnamed, and leaves them out.
            warnings.filterwarnings("error", ".*missing adapter keys")
            read_json(Path(folder) / "adapter_config.json", dict)
            read_tensors(Path(folder) / "adapter_model.safetensors")
            before = _sums(weights)
            model = PeftModel.from_pretrained(loaded.model, folder).eval()
            if model.active_peft_config.is_prompt_learning:
                raise LMSteerError(f"{folder} puts virtual tokens before each text, and is no LoRA: train one instead")
            if _sums(weights) != before:
                raise LMSteerError(
                    f"{folder} changes the weights of the model itself: convert it to a plain LoRA, and load the model "
                    "again"
                )
        yield
    finally:
        for module, name, child in parts:
            setattr(module, name, child)
        if hasattr(loaded.model, "peft_config"):
            del loaded.model.peft_config


def _sums(weights: Iterable[torch.Tensor]) -> list[float]:
    """Return a sum per weight, by which a change shows: PEFT changes weights without changing their versions."""
    return [weight.detach().sum(dtype=torch.float64).item() for weight in weights]


def rank_for(loaded: LoadedModel, budget: int) -> int:
    """Return the highest rank, at least 1, of a LoRA on all linear layers but the head with `budget` parameters."""
    head = loaded.model.get_output_embeddings()
    linear = [part for part in loaded.model.modules() if isinstance(part, torch.nn.Linear) and part is not head]
    if not linear:
        raise LMSteerError(f"{type(loaded.model).__name__} has no linear layers to train a LoRA on: use another model")
    return max(1, budget // sum(part.in_features + part.out_features for part in linear))


def train_lora(
    loaded: LoadedModel,
    texts: Sequence[str],
    *,
    budget: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    max_length: int,
    seed: int,
    output: Path,
) -> None:
    """Train a LoRA by the language-model loss with padding masked, as for a steer, and write the adapter.

    budget      maximum number of parameters; a steer has 2 · hidden · rank per dimension
    """
    with needs("peft"):
        from peft import LoraConfig, get_peft_model

    if not texts:
        raise LMSteerError("no text has a label in the range given by --labels: widen it")
    rank = rank_for(loaded, budget)
    torch.manual_seed(seed)
    adapter = get_peft_model(loaded.model, LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS))
    optimizer = torch.optim.Adam([part for part in adapter.parameters() if part.requires_grad], lr=learning_rate)
    draw = drawn(len(texts), steps, batch_size, seed)
    loaded.tokenizer.padding_side = "right"
    with Progress("train LoRA", steps, "step") as progress:
        for indices in draw.tolist():
            batch = loaded.tokenizer(
                loaded.cut([texts[index] for index in indices], max_length),
                padding=True,
                truncation=True,
                max_length=max_length,
                return_tensors="pt",
            ).to(loaded.device)
            labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
            loss = adapter(**batch, labels=labels).loss
            _require_finite([loss])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress.advance(1, f"loss {loss.item():.3f}")
    _require_finite(part for part in adapter.parameters() if part.requires_grad)
    with replacing(output, ADAPTER) as temporary:
        adapter.save_pretrained(str(temporary))


def _require_finite(tensors: Iterable[torch.Tensor]) -> None:
    if not all(tensor.isfinite().all() for tensor in tensors):
        raise LMSteerError("the training of the LoRA diverged (loss or weights are not finite): lower learning_rate")
