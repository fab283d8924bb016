"""What the playground does, without a page: continuations side by side, evidence in a text, words, slider ranges.

*_, (plain, steered) = Playground(loaded, steer.attach(loaded.model)).stream("The film was", {"sentiment": 5})
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lm_steer.analyse.calibrate import calibrate
from lm_steer.analyse.directions import directions
from lm_steer.analyse.evidence import Evidence, evidence
from lm_steer.core.attach import Handle
from lm_steer.core.steer import Steer, compose
from lm_steer.generation.decoder import LARGEST_LOGIT
from lm_steer.generation.nucleus import sample_tokens, tries
from lm_steer.model.chat import chat_prompt
from lm_steer.model.load import LoadedModel
from lm_steer.util.errors import LMSteerError
from lm_steer.util.progress import say

LIMIT = 10.0
# The texts on which the ends of the sliders are measured.
SENTENCES = (
    "The train was late again this morning, so we walked to the office along the river.",
    "I read the book over two evenings and talked about it with my sister on Sunday.",
    "The new restaurant on the corner serves soup, bread and a few dishes of the day.",
    "Nobody in the room said anything when the results were read out at the end.",
)


@dataclass(frozen=True)
class Playground:
    """A model with a steer attached, and the actions of the page.

    place, folders   where model and steers come from, as named in the Python code that the page shows
    """

    loaded: LoadedModel
    handle: Handle
    place: str = ""
    folders: Sequence[Path] = ()

    @torch.no_grad()
    def stream(
        self,
        prompt: str,
        values: Mapping[str, float],
        new_tokens: int = 40,
        seed: int = 0,
        top_p: float = 0.9,
        chat: bool = False,
    ) -> Iterator[tuple[str, str]]:
        """Yield the unsteered and the steered continuation, or answer with `chat`, one token longer each time.

        Both are sampled with the same random numbers, so that they differ by the steer alone.
        """
        text = chat_prompt(self.loaded.tokenizer, prompt) if chat and prompt.strip() else prompt
        (ids,) = self.loaded.whole_ids([text])
        if not ids:
            raise LMSteerError("the prompt is empty: write some words")
        context = self.loaded.context
        if context and len(ids) + new_tokens > context:
            raise LMSteerError(f"{len(ids)} tokens and {new_tokens} more do not fit the model's context of {context}")
        random = np.random.default_rng(seed)
        rows = {name: [0.0, value] for name, value in values.items()}
        tokens = torch.tensor([ids, ids], device=self.loaded.device)
        texts, ended = [list(ids), list(ids)], [False, False]
        before = len(self.loaded.tokenizer.decode(ids, skip_special_tokens=True))
        cache_name, cache = self.loaded.cache_name, None
        for _ in range(new_tokens):
            # Only for this step: the page may ask for something else before the next.
            with self.handle.at(rows):
                out = self.loaded.model(input_ids=tokens, use_cache=True, **{cache_name: cache})
            logits = out.logits[:, -1]
            if not (logits.amax(-1).abs() < LARGEST_LOGIT).all():
                raise LMSteerError("the logits are not finite, or too large, at these values: choose lower ones")
            uniforms = torch.from_numpy(random.random((1, tries(top_p)))).to(tokens.device).expand(2, -1)
            next_ids = sample_tokens(logits.float(), uniforms, top_p)
            cache, tokens = out[cache_name], next_ids[:, None]
            for row, token in enumerate(next_ids.tolist()):
                ended[row] |= token == self.loaded.tokenizer.eos_token_id
                texts[row] += [] if ended[row] else [token]
            plain, steered = (str(self.loaded.tokenizer.decode(row, skip_special_tokens=True)) for row in texts)
            yield plain[before:], steered[before:]
            if all(ended):
                return

    def reach(self, dimension: str) -> tuple[float, float, float]:
        """Return a dimension's lowest and highest value before quality breaks, and the recommended one."""
        try:
            curve = calibrate(self.handle.steer, self.loaded, SENTENCES, dimension)
        except LMSteerError:
            return -LIMIT, LIMIT, LIMIT / 2
        ends = ((curve.breaks(-1), curve.points[0].value), (curve.breaks(1), curve.points[-1].value))
        low, high = (last if math.isnan(broken) else broken for broken, last in ends)
        best = curve.recommended()
        low, high, best = (float(f"{value:.2g}") for value in (low, high, high / 2 if math.isnan(best) else best))
        return low, high, min(best, high)

    def python(
        self, prompt: str, values: Mapping[str, float], new_tokens: int = 40, seed: int = 0, chat: bool = False
    ) -> str:
        """Return Python code that continues a prompt at these values; it draws other samples than the page."""
        read = {steer_name(folder): f"lm_steer.Steer.from_pretrained({str(folder)!r})" for folder in self.folders}
        attached = {dimension.partition(".")[0] for dimension in self.handle.steer.dimensions}
        steers = ", ".join(f"{name!r}: {code}" for name, code in read.items() if name in attached)
        steer = f"lm_steer.compose({{{steers}}})" if len(read) > 1 else "".join(read.values())
        at = {name: value for name, value in values.items() if value}
        mode = ", chat=True" if chat else ""
        return (
            f"import lm_steer\n\nloaded = lm_steer.load_model({self.place!r})\nsteer = {steer}\n"
            f"texts = lm_steer.generate(\n    loaded.model, loaded.tokenizer, [{prompt!r}], steer, {at!r},\n"
            f"    samples=1, new_tokens={new_tokens}, seed={seed}{mode},\n)\nprint(texts[0][0])"
        )

    def evidence(self, text: str, values: Mapping[str, float]) -> Evidence:
        """Return the evidence in a text for the style of these values."""
        if not any(values.values()):
            raise LMSteerError("every slider is at 0: move one to see evidence for it")
        return evidence(self.handle.steer, self.loaded, text, values)

    def words(self, dimension: str) -> list[list[str]]:
        """Return the first directions of a dimension: share in per cent, words raised, words lowered."""
        return [
            [f"{100 * one.share:.1f}", *(", ".join(word for word, _ in side) for side in (one.raised, one.lowered))]
            for one in directions(self.handle.steer, self.loaded, dimension)
        ]


def last_run(results: Path, model: str = "", folders: Sequence[Path] = ()) -> tuple[str, Sequence[Path]]:
    """Return the model and the steer folders to load: those given, or those of the last run (first seed of each steer).

    Raises LMSteerError if there are none.
    """
    if folders:
        if not model:
            raise LMSteerError("name the model of the steer: --model FOLDER, or owner/name of the hub")
        return model, folders
    runs = results / "steers"
    models = sorted(place.name for place in runs.glob("*") if (results / "models" / place.name).is_dir())
    name = Path(model).name if model else next(iter(models), "")
    firsts = [min(place.glob("seed*")) for place in sorted((runs / name).glob("*")) if any(place.glob("seed*"))]
    if not name or not firsts:
        raise LMSteerError(f"{runs / name} holds no steers: run a study first, or give --model and --steer")
    return model or str(results / "models" / name), firsts


def joined(folders: Sequence[Path]) -> Steer:
    """Return one steer made of several folders; a single folder keeps the names of its dimensions.

    Steers of another kind than the first's cannot be composed with it and are left out.
    """
    if len(folders) == 1:
        return Steer.from_pretrained(folders[0])
    steers = {steer_name(folder): Steer.from_pretrained(folder) for folder in folders}
    if len(steers) < len(folders):
        names = [steer_name(folder) for folder in folders]
        twice = next(name for name in names if names.count(name) > 1)
        raise LMSteerError(f"two of the steers are called {twice}: rename the folder of one, or leave one out")
    kind = next(iter(steers.values())).kind
    if left_out := [name for name, steer in steers.items() if steer.kind != kind]:
        say(f"left out because their kind is not {kind}: {', '.join(left_out)}")
    return compose({name: steer for name, steer in steers.items() if steer.kind == kind})


def steer_name(folder: Path) -> str:
    """Return the name of a steer: its folder's, or for a seed's folder that of the one above."""
    return folder.parent.name if folder.name.startswith("seed") else folder.name
