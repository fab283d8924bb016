"""What each family of models does in generation, perplexity, training and export, in one word each, and the table.

outcomes = checked("mamba2", folder)           # {"generation": Outcome("equal"), …}

equal        what a naive loop gives
refused      one sentence says that this does not work, and nothing is made
wrong        something else, without a word
traceback    an exception that is no LMSteerError
"""

import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import families
import naive
import tiny
import torch
import transformers
from transformers import AutoModelForCausalLM

from lm_steer import LMSteerError
from lm_steer.core.attach import attach
from lm_steer.generation import continuations as generate_module
from lm_steer.generation.continuations import Sampling, continuations
from lm_steer.interop.export import export
from lm_steer.model.load import LoadedModel, load_model
from lm_steer.model.obtain import obtain
from lm_steer.score import perplexity
from lm_steer.score.store import Item
from lm_steer.training.learn import LabelledTexts, Recipe, learn

SAMPLING = Sampling(samples=2, new_tokens=5, top_p=0.9, seed=3)
# Shorter than a window of the tiny configs, and longer; some of one length and some alone.
PROMPTS = [
    "The movie",
    "What a waste of time; the plot makes no sense at all. The acting",
    "A",
    "A warm and funny",
]
ITEMS = [
    Item("The movie", " was a joy to watch from the first minute."),
    Item("The movie", " was dull."),
    Item("The mov", "ie"),
    Item("T", "he acting is fine."),
    Item("What a waste", " of time; the plot makes no sense at all."),
    Item("A", ""),
]
LONG = " ".join(tiny.SENTENCES)
LABELS = (1.0, -0.5, 1.0, -1.0, 0.5, 0.0)
RECIPE = Recipe(("style", "corpus"), rank=3, epsilon=0.1, steps=2, batch_size=3, learning_rate=0.1, max_length=24)
CHECKS = ("generation", "steered", "perplexity", "context", "training", "export")
VALUES = {"style": 2.0, "corpus": 1.0}


@dataclass(frozen=True)
class Outcome:
    """One check of one family."""

    verdict: str
    reason: str = ""

    @property
    def good(self) -> bool:
        """Whether nobody can be misled by it."""
        return self.verdict in ("equal", "refused")


def checked(family: str, folder: Path, names: Sequence[str] = CHECKS) -> dict[str, Outcome]:
    """Make the tiny model of a family, load it as any other, and compare with a naive restatement."""
    families.save_family(family, folder / "origin")
    loaded: list[LoadedModel] = []

    def load() -> str:
        obtain("folder", str(folder / "origin"), folder / "model")
        loaded.append(load_model(folder / "model", device="cpu"))
        return ""

    loading = _outcome(load)
    if not loaded:
        return dict.fromkeys(names, loading)
    model, causal = loaded[0], naive.is_causal(loaded[0], PROMPTS[1])
    checks: dict[str, Callable[[], Outcome]] = {
        "generation": lambda: _outcome(lambda: _generation(model)),
        "steered": lambda: _outcome(lambda: _steered(model)),
        "perplexity": lambda: _outcome(lambda: _perplexity(model, causal)),
        "context": lambda: _context(model, causal),
        "training": lambda: _outcome(lambda: _training(model, causal, folder)),
        "export": lambda: _outcome(lambda: _export(model, folder)),
    }
    return {name: _without_paths(checks[name](), folder) for name in names}


def _without_paths(outcome: Outcome, folder: Path) -> Outcome:
    """Leave out what differs from run to run."""
    return replace(outcome, reason=re.sub(rf"{re.escape(str(folder))}/\S+", "the folder", outcome.reason))


def _outcome(check: Callable[[], str]) -> Outcome:
    """Run a check, which returns what is wrong."""
    try:
        wrong = check()
        return Outcome("wrong", wrong) if wrong else Outcome("equal")
    except LMSteerError as error:
        return Outcome("refused", str(error))
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        message = (str(error).strip().splitlines() or [""])[0]
        return Outcome("traceback", f"{type(error).__name__}: {message} ({Path(place.filename).name}:{place.lineno})")


def _generation(loaded: LoadedModel, prompts: list[str] = PROMPTS) -> str:
    with _small_blocks():
        made = continuations(loaded, prompts, SAMPLING, "test")
    expected = naive.continuations(loaded, prompts, SAMPLING)
    pairs = [pair for row in zip(made, expected, strict=True) for pair in zip(*row, strict=True)]
    wrong = [pair for pair in pairs if pair[0] != pair[1]]
    return f"{len(wrong)} of {len(pairs)} texts differ: {wrong[0][0]!r}, not {wrong[0][1]!r}" if wrong else ""


def _steered(loaded: LoadedModel) -> str:
    steer = tiny.make_steer(loaded.model)
    plain = naive.continuations(loaded, PROMPTS[:2], SAMPLING)
    with attach(loaded.model, steer) as handle, handle.at(VALUES):
        same = naive.continuations(loaded, PROMPTS[:2], SAMPLING) == plain
        return "the steer changes nothing" if same else _generation(loaded, PROMPTS[:2])


def _context(loaded: LoadedModel, causal: bool) -> Outcome:
    """Try texts that fill the context to the last token, and longer ones, which a model may take or not."""
    ids = loaded.token_ids([LONG])[0]
    outcomes = []
    for tokens in (families.CONTEXT, families.CONTEXT + 1):
        prompt = loaded.tokenizer.decode(ids[: tokens - SAMPLING.new_tokens])
        item = Item("The", loaded.tokenizer.decode(ids[:tokens])[3:])
        outcomes += [
            _outcome(lambda prompt=prompt: _generation(loaded, [prompt])),
            _outcome(lambda item=item: _perplexity(loaded, causal, [item])),
        ]
    bad = [outcome for outcome in outcomes if not outcome.good]
    if bad or all(outcome.verdict == "refused" for outcome in outcomes):
        return [*bad, *outcomes][0]
    # What must be equal is tried elsewhere: here either answer is right.
    return Outcome("equal")


def _perplexity(loaded: LoadedModel, causal: bool, items: list[Item] = ITEMS) -> str:
    with _small_blocks():
        found = dict(perplexity.causal_lm(loaded, "tiny").judge(items))
    if not causal:
        return "the model sees the tokens that it predicts"
    for index, item in enumerate(items):
        expected, tokens = naive.nll(loaded, item)
        if found[index][1] != tokens or not abs(found[index][0] - expected) <= 1e-4 * abs(expected) + 1e-4:
            return f"{item}: {found[index]}, not {(expected, tokens)}"
    return ""


def _training(loaded: LoadedModel, causal: bool, folder: Path) -> str:
    texts = LabelledTexts(tiny.SENTENCES, LABELS)
    steer, log = learn(loaded, texts, texts, RECIPE, folder / "cache")
    if not causal:
        return "the model sees the tokens that it predicts"
    losses = []
    with attach(loaded.model, steer) as handle:
        for text, label in zip(texts.texts, texts.labels, strict=True):
            ids = torch.tensor(loaded.token_ids([text], RECIPE.max_length))
            with handle.at(style=label, corpus=1.0):
                losses.append(naive.token_nlls(loaded, ids))
    expected = torch.cat(losses).mean().item()
    found = log[-1]["dev_loss"]
    return "" if abs(found - expected) <= 1e-4 * expected else f"a dev loss of {found:.5f}, not {expected:.5f}"


def _export(loaded: LoadedModel, folder: Path) -> str:
    steer = tiny.make_steer(loaded.model)
    export(steer, VALUES, folder / "model", folder / "exported", engine="transformers")
    ids = torch.tensor(loaded.token_ids([PROMPTS[1]]))
    with attach(loaded.model, steer) as handle, handle.at(VALUES):
        expected = tiny.logits_of(loaded.model, ids)
    exported = AutoModelForCausalLM.from_pretrained(folder / "exported", dtype=torch.float32).eval()
    error = (tiny.logits_of(exported, ids) - expected).abs().max().item()
    return "" if error < 1e-3 else f"logits off by {error:.3g}"


@contextmanager
def _small_blocks() -> Iterator[None]:
    """Two prompts a block, so that a handful of prompts fills several blocks, and one in part."""
    rows = mock.patch.object(generate_module, "ROWS", 2 * SAMPLING.samples)
    tokens = mock.patch.object(perplexity, "TOKENS", {"cpu": 64, "cuda": 64})
    with rows, tokens:
        yield


def table(outcomes: Mapping[str, Mapping[str, Outcome]]) -> str:
    """Return the page of the documentation."""
    equal = sum(all(outcome.verdict == "equal" for outcome in row.values()) for row in outcomes.values())
    lines = [
        f"""# Families of models

Written by `make families`, with transformers {transformers.__version__}. Each type of causal language model
that it knows is built as a tiny random model, saved, obtained and loaded as any other. Then, in float32:

| column | what is compared |
|---|---|
| generation, steered | the texts, without and with a steer, with a loop over one text without cache or padding |
| perplexity | the loss of each continuation with that of one pass over the whole text |
| context | texts that fill the context to its last token, and longer ones: right or refused |
| training | the dev loss after two steps with the loss that the attached steer gives |
| export | the logits of a checkpoint that is loaded again with those of the attached steer |

`refused` is one sentence that says why, before anything is made. {equal} of {len(outcomes)} types are equal everywhere.

| type | {" | ".join(CHECKS)} |
|---|{"---|" * len(CHECKS)}"""
    ]
    reasons: dict[str, list[str]] = {}
    for family, row in sorted(outcomes.items()):
        lines.append(f"| {family} | {' | '.join(outcome.verdict for outcome in row.values())} |")
        for check, outcome in row.items():
            if outcome.reason:
                reasons.setdefault(f"| {family} | {outcome.reason.replace('|', '/')} |", []).append(check)
    if reasons:
        lines += ["", "| type | what is said | of |", "|---|---|---|"]
        lines += [f"{reason} {', '.join(names)} |" for reason, names in reasons.items()]
    lines += ["", "| type | why it is not built |", "|---|---|"]
    lines += [f"| {family} | {why} |" for family, why in sorted(families.NOT_BUILT.items())]
    return "\n".join(lines) + "\n"
