"""Learn a steer by minimising the language-model loss of labelled texts under v = (label, 1), with the model frozen.

    lm-steer train --model results/models/smollm2 --texts results/data/snippets/train.parquet \\
        --dimensions sentiment,corpus --rank 256 --steps 150 -o results/steers/smollm2/sentiment/seed0

The dimension `corpus` is held at 1 and absorbs how the training texts differ from the model's own regardless of the
labels; the other dimensions take each text's labels (paper, section 3.2; the dummy dimension of the original code). The
loss of a text with a prompt covers only the text's own tokens.
"""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from lm_steer.core.steer import Steer
from lm_steer.data.labelled import drawn
from lm_steer.model.blocks import padded_right, sent
from lm_steer.model.head import Head, head_inputs, head_of
from lm_steer.model.hidden_cache import DrawnStates, HiddenMemo, Packed
from lm_steer.model.load import LoadedModel
from lm_steer.training.checkpoint import Checkpoint
from lm_steer.training.closed_form import difference
from lm_steer.training.loss import head_cross_entropy
from lm_steer.training.texts import LabelledTexts
from lm_steer.util import options
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import fingerprint, write_jsonl
from lm_steer.util.progress import Progress, say
from lm_steer.util.words import CORPUS

DEV_TEXTS = 64
EVERY = 25
# Nats by which the last dev loss may exceed the lowest before a warning.
NOTICEABLE = 0.01


@dataclass(frozen=True)
class Recipe:
    """How a steer is trained; the defaults are the paper's, except that padding is masked in the loss.

    training_free computes `add` and `offset` from the texts in closed form, without training steps.
    regularization is λ in loss + λ·(‖A‖² + ‖B‖²). loss_on_padding includes pad positions in the loss, as the original
    code does: targets then depend on each batch's longest text, so hidden states are recomputed for every batch.
    Raises LMSteerError if a number is out of range, or the dimensions are invalid.
    """

    dimensions: Annotated[tuple[str, ...], options.A_DIMENSION]
    kind: Annotated[str, options.A_KIND] = "multiply"
    training_free: Annotated[bool, options.A_CHOICE] = False
    rank: options.Rank = 1000
    epsilon: options.Epsilon = 1e-3
    steps: options.Steps = 1000
    batch_size: options.BatchSize = 32
    learning_rate: options.LearningRate = 1e-2
    regularization: options.Regularization = 0.0
    max_length: options.MaxLength = 256
    loss_on_padding: Annotated[bool, options.A_CHOICE] = False
    seed: options.Seed = 0

    def __post_init__(self) -> None:
        options.check_fields(self)
        if set(self.dimensions) <= {CORPUS} or len(set(self.dimensions)) < len(self.dimensions):
            names = ", ".join(self.dimensions) or "none"
            raise LMSteerError(
                f"dimensions: expected different names, one for each label and optionally '{CORPUS}', found {names}"
            )
        if self.training_free and (self.kind == "multiply" or CORPUS in self.dimensions or self.loss_on_padding):
            raise LMSteerError(
                "training_free: only the kinds add and offset have a closed form: leave out the dimension "
                f"'{CORPUS}' and loss_on_padding"
            )

    @property
    def name(self) -> str:
        """The name of the training in progress lines."""
        return next((name for name in self.dimensions if name != CORPUS), "steer")


@torch.inference_mode(False)
def learn(
    loaded: LoadedModel,
    train_texts: LabelledTexts,
    dev_texts: LabelledTexts,
    recipe: Recipe,
    cache: str | Path,
    patience: int = 0,
) -> tuple[Steer, list[dict[str, float]]]:
    """Return the steer and its log: step, loss, tokens, and every 25 steps the dev loss.

    With `patience`, training stops after this many consecutive dev losses that are no lower than the lowest before.
    An interrupted training resumes from its last checkpoint in `cache`, which is keyed by everything it depends on.
    Raises LMSteerError if dimensions or texts are unsuitable, or if the training diverges.
    """
    memo = HiddenMemo(Path(cache) / "hidden.sqlite", loaded, recipe.max_length)
    texts = train_texts.usable(memo, "training")
    if recipe.loss_on_padding and any(texts.prompts):
        raise LMSteerError("loss_on_padding is for texts without prompts: leave it out")
    head = head_of(loaded.model)
    width = head.weight.shape[0] if recipe.kind == "offset" else head.weight.shape[1]
    start = torch.Generator().manual_seed(recipe.seed)
    steer = Steer.initial(
        recipe.dimensions, width, rank=recipe.rank, kind=recipe.kind, epsilon=recipe.epsilon, generator=start
    )
    weights = {name: weight.to(loaded.device).requires_grad_() for name, weight in steer.weights.items()}
    optimizer = torch.optim.Adam(weights.values(), lr=recipe.learning_rate, fused=loaded.device.type == "cuda")
    draw = drawn(len(texts), recipe.steps, recipe.batch_size, recipe.seed)
    dev = dev_texts.usable(memo, "dev")
    dev = dev.at(range(min(DEV_TEXTS, len(dev))))
    every_dev = torch.arange(len(dev))[None]
    dev_states = DrawnStates(memo, dev.prompts, dev.texts, every_dev, f"train {recipe.name}, dev")
    states = DrawnStates(memo, texts.prompts, texts.texts, draw, f"train {recipe.name}")
    dev_values, values = (sent(part.values(recipe.dimensions), loaded.device) for part in (dev, texts))

    def nll_of(values: Tensor, packed: Packed) -> Tensor:
        hidden, targets, row = packed
        return steered_nll(head, recipe.kind, weights, recipe.epsilon, hidden, targets, values[row])

    @torch.no_grad()
    def dev_loss() -> float:
        return nll_of(dev_values, dev_states.packed(0)).mean().item()

    if recipe.training_free:
        log = [{"step": 0, "dev_loss": dev_loss()}]
        (weight,) = weights.values()
        vocabulary = width if recipe.kind == "offset" else 0
        weight.data.copy_(difference(states, values.cpu(), recipe.dimensions, recipe.epsilon, vocabulary))
        log.append({"step": recipe.steps, "dev_loss": dev_loss()})
        _check_finite(log, recipe, "check the model's weights, dtype and epsilon")
        return replace(steer, weights={name: each.detach().cpu() for name, each in weights.items()}), log

    # The dev texts count too: their losses are logged, and decide when to stop.
    identity = [loaded.fingerprint, asdict(recipe), *(vars(part) for part in (texts, dev)), patience]
    checkpoint = Checkpoint(Path(cache) / "checkpoints", identity)
    step, log = checkpoint.load(weights, optimizer)
    # Losses stay on the device until they are logged, so that a GPU does not wait for the host at each step.
    recent: list[dict[str, Any]] = []
    if not log:
        log.append({"step": 0, "dev_loss": dev_loss()})
        _check_finite(log, recipe, "check the model's weights, dtype and epsilon")
    if step < recipe.steps and not recipe.loss_on_padding:
        states.packed(step)  # computes the hidden states, which should not count as time per step
    with Progress(f"train {recipe.name}", recipe.steps, "step") as progress:
        progress.skip(step)
        while step < recipe.steps and not _stalled(log, patience):
            if recipe.loss_on_padding:
                packed = _padded(memo, [texts.texts[index] for index in draw[step].tolist()])
            else:
                packed = states.packed(step)
            nll = nll_of(values[sent(draw[step], loaded.device)], packed)
            tokens = len(nll)
            optimizer.zero_grad()
            # The sum's gradient, divided in float32: the mean's would underflow in a half-precision head.
            nll.sum().backward()
            for weight in weights.values():
                assert weight.grad is not None
                weight.grad.div_(tokens).add_(weight.detach(), alpha=2 * recipe.regularization)
            optimizer.step()
            step += 1
            recent.append({"step": step, "loss": nll.detach().mean(), "tokens": tokens})
            if step % EVERY == 0 or step == recipe.steps:
                losses = torch.stack([row["loss"] for row in recent]).tolist()
                log += [{**row, "loss": loss} for row, loss in zip(recent, losses, strict=True)]
                recent.clear()
                log[-1]["dev_loss"] = dev_loss()
                _check_finite(log, recipe, "lower learning_rate")
                if step == recipe.steps or _stalled(log, patience) or checkpoint.due:
                    checkpoint.save(step, weights, optimizer, log)
            progress.advance(1, f"loss {log[-1]['loss']:.3f}" if "loss" in log[-1] else "")
    if not all(torch.isfinite(weight).all() for weight in weights.values()):
        raise LMSteerError(f"the training of {recipe.name} diverged (weights are not finite): lower learning_rate")
    _warn_of_overfitting(log)
    return replace(steer, weights={name: weight.detach().cpu() for name, weight in weights.items()}), log


def _dev_losses(log: list[dict[str, float]]) -> dict[int, float]:
    return {int(row["step"]): row["dev_loss"] for row in log if "dev_loss" in row}


def _stalled(log: list[dict[str, float]], patience: int) -> bool:
    """Whether none of the last `patience` dev losses is lower than the lowest before them."""
    losses = list(_dev_losses(log).values())
    return 0 < patience < len(losses) and min(losses[-patience:]) >= min(losses[:-patience])


def _warn_of_overfitting(log: list[dict[str, float]]) -> None:
    """Print a warning if the dev loss has risen from its lowest value."""
    losses = _dev_losses(log)
    lowest, last = min(losses, key=losses.__getitem__), max(losses)
    if losses[last] > losses[lowest] + NOTICEABLE:
        say(
            f"the dev loss was lowest at step {lowest} ({losses[lowest]:.3f}) and is {losses[last]:.3f} at step "
            f"{last}: train for fewer steps, or on more texts"
        )


def _check_finite(log: list[dict[str, float]], recipe: Recipe, advice: str) -> None:
    for row in log:
        if not all(map(math.isfinite, row.values())):
            raise LMSteerError(
                f"the training of {recipe.name} diverged: no finite loss at step {row['step']}: {advice}"
            )


def steered_nll(
    head: Head,
    kind: str,
    weights: dict[str, Tensor],
    epsilon: float,
    hidden: Tensor,
    targets: Tensor,
    values: Tensor,
) -> Tensor:
    """Return the NLL (tokens,) under steer values (tokens, dimensions), differentiable in the weights.

    The arithmetic of `attach` for packed tokens, with products in the dtype of `hidden` and weights in float32.
    """
    half = hidden.dtype
    if kind == "offset":
        return head_cross_entropy(head, hidden, targets, values * epsilon, weights["o"])
    if kind == "add":
        return head_cross_entropy(head, hidden + (epsilon * values @ weights["a"]).to(half), targets)
    down = weights["B"].permute(1, 0, 2).flatten(1).to(half)
    up = weights["A"].permute(0, 2, 1).flatten(0, 1).to(half)
    scales = (epsilon * values).repeat_interleave(weights["A"].shape[2], -1).to(half)
    return head_cross_entropy(head, hidden + (hidden @ down * scales) @ up, targets)


def save(steer: Steer, about: dict[str, object], log: list[dict[str, float]], folder: str | Path) -> None:
    """Write a trained steer with its provenance and its log into one folder."""
    replace(steer, about=about).save_pretrained(folder)
    write_jsonl(Path(folder) / "training.jsonl", log)


def about(loaded: LoadedModel, recipe: Recipe, texts: LabelledTexts) -> dict[str, object]:
    """Return the provenance to save with the steer."""
    return {
        "model": loaded.name,
        "model_type": loaded.model.config.model_type,
        "model_fingerprint": loaded.fingerprint,
        "recipe": asdict(recipe),
        "texts": len(texts),
        "texts_fingerprint": fingerprint([texts.texts, texts.labels, *([texts.prompts] if any(texts.prompts) else [])]),
    }


def name_of(texts: Path) -> str:
    """Return a display name for a file of texts: the folder's name for a dataset of the workflow, else the file's."""
    return texts.parent.name if texts.name == "train.parquet" else texts.name


def _padded(memo: HiddenMemo, texts: list[str]) -> Packed:
    """Return states, targets and rows of a right-padded batch, pad positions included, as the original code trains."""
    rows_of_ids = memo.token_ids(texts)
    ids, mask = padded_right(memo.loaded, rows_of_ids, max(map(len, rows_of_ids)))
    hidden = head_inputs(memo.loaded.model, ids, mask)[:, :-1]
    targets = ids[:, 1:]
    rows = torch.arange(len(texts), device=ids.device)[:, None].expand_as(targets)
    return hidden.flatten(0, 1), targets.flatten(), rows.flatten()
