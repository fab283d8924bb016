"""Decode one block of prompts: each prompt once, then its samples token by token in fixed shapes.

    decoder = Decoder(loaded, prompts=32, length=32, sampling=sampling)
    tokens = decoder.run(ids, uniforms)                          # (prompts, samples, new_tokens)

The prompts' keys and values go into a static cache, repeated for their samples or shared by them (shared.py), and a
step reads and writes buffers that stay where they are. So on a GPU a step is captured as a CUDA graph (capture.py):
what a graph draws is compared with the plain step first, and where a model cannot be captured the plain step goes on.
Models with other caches (sliding windows, states), or none, go on with their own (way.py).
"""

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from transformers import Cache, StaticCache

from lm_steer.generation.capture import DIFFERENCE, HALF_DIFFERENCE, capture, same_draw
from lm_steer.generation.nucleus import Sampling, sample_tokens, tries
from lm_steer.generation.prefill import padded, prefill
from lm_steer.generation.shared import SharedCache
from lm_steer.model.blocks import sent
from lm_steer.model.load import LoadedModel
from lm_steer.util.progress import say

# In float32 larger logits differ by steps that no longer tell probabilities apart.
LARGEST_LOGIT = 1e6
# What a row is filled with whose logits are not finite, or too large.
UNUSABLE = -1


class Decoder:
    """Buffers for blocks of `prompts` prompts, padded on the left to `length`; fewer prompts are filled up."""

    def __init__(self, loaded: LoadedModel, prompts: int, length: int, sampling: Sampling, way: str = "static") -> None:
        """`way` is one of those of way.py."""
        self.loaded, self.prompts, self.length, self.sampling = loaded, prompts, length, sampling
        rows, total, device = prompts * sampling.samples, length + sampling.new_tokens, loaded.device
        self.tokens = torch.zeros(rows, 1, dtype=torch.long, device=device)
        self.positions = torch.zeros_like(self.tokens)
        # The attention to shared prompts knows what it sees; a mask keeps a model from looking for padding.
        shape = (1, 1, 1, 1) if way == "shared" else (rows, total)
        self.mask = torch.zeros(shape, dtype=torch.long, device=device)
        self.begins = torch.zeros(prompts, dtype=torch.long, device=device)
        self.uniforms = torch.zeros(rows, sampling.new_tokens, tries(sampling.top_p), device=device)
        self.made = torch.zeros(rows, sampling.new_tokens, dtype=torch.long, device=device)
        self.drawn = torch.zeros(1, dtype=torch.long, device=device)
        self.usable = torch.ones(rows, 1, dtype=torch.bool, device=device)
        self.forbidden = _forbidden(loaded)
        self.way, self.cache_name = way, loaded.cache_name
        config = loaded.model.config
        self.cache: Cache | None = SharedCache(config, sampling.new_tokens) if way == "shared" else None
        if way == "static":
            self.cache = StaticCache(config=config, max_cache_len=total)
        # Not the bound step itself: an object that refers to itself would keep its cache until the collector comes by.
        self.graph: torch.cuda.CUDAGraph | None = None
        self.tried = False

    @torch.no_grad()
    def run(self, ids: list[list[int]], uniforms: Tensor) -> Tensor:
        """Return new tokens (prompts, samples, new_tokens), on the device; UNUSABLE in rows without usable logits.

        ids are the prompts' tokens; uniforms (prompts · samples, new_tokens, tries(top_p)) are in [0, 1).
        """
        filled = [*ids, *[ids[-1]] * (self.prompts - len(ids))]
        self.uniforms[: len(uniforms)].copy_(sent(uniforms.float(), self.loaded.device))
        self.usable.fill_(True)
        if self.way == "growing":
            self._run_growing(filled)
        elif self.cache is None:
            self._run_unpadded(filled)
        else:
            prompt = prefill(self.loaded, filled, self.length, self._prompts)
            if not self.tried and self.sampling.new_tokens > 1 and self.loaded.device.type == "cuda":
                self.graph, self.tried = self._captured(filled, prompt), True
            self._start(filled, *prompt)
            for _ in range(self.sampling.new_tokens - 1):
                self.graph.replay() if self.graph else self.step()
        made = self.made.masked_fill(~self.usable, UNUSABLE)
        return made.unflatten(0, (self.prompts, self.sampling.samples))[: len(ids)]

    def step(self) -> None:
        """Run the last token of every row through the model and draw the next."""
        if self.way == "static":
            self.mask.index_fill_(1, self.drawn + (self.length - 1), 1)
        self.positions.add_(1)
        out = self.loaded.model(
            input_ids=self.tokens,
            attention_mask=self.mask,
            position_ids=self.positions,
            use_cache=True,
            logits_to_keep=1,
            **{self.cache_name: self.cache},
        )
        self._draw(out.logits[:, -1])

    def _draw(self, logits: Tensor) -> None:
        self.logits = logits.float().index_fill_(1, self.forbidden, -torch.inf)
        self.usable.logical_and_(self.logits.amax(1, keepdim=True).abs() < LARGEST_LOGIT)
        uniforms = self.uniforms.index_select(1, self.drawn).squeeze(1)
        tokens = sample_tokens(self.logits, uniforms, self.sampling.top_p, self.sampling.top_k)[:, None]
        self.made.index_copy_(1, self.drawn, tokens)
        self.tokens.copy_(tokens)
        self.drawn.add_(1)

    def _prompts(self, tokens: Tensor, mask: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        """Return the logits (rows, vocabulary) of each prompt's next token."""
        # An index and not a number: the head gets its input in one piece, and is several times faster on a CPU.
        last = torch.tensor([tokens.shape[1] - 1], device=self.loaded.device)
        out = self.loaded.model(
            tokens,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=last,
            **{self.cache_name: cache},
        )
        return out.logits[:, -1]

    def _start(self, ids: list[list[int]], logits: Tensor, prompts: Any) -> None:
        """Set every buffer to the block's prompts, and draw the first token."""
        samples = self.sampling.samples
        lengths = sent(torch.tensor([len(row) for row in ids]), self.loaded.device)
        self.begins.copy_(self.length - lengths)
        self.positions.copy_((lengths - 1).repeat_interleave(samples)[:, None])
        if isinstance(self.cache, SharedCache):
            self.cache.start(prompts, samples, self.begins)
        else:
            self._repeat(prompts)
        self.drawn.zero_()
        # A graph that was tried before may have left its mark.
        self.usable.fill_(True)
        self._draw(logits.repeat_interleave(samples, 0))

    def _repeat(self, prompts: Any) -> None:
        """Fill the static cache and the mask for every sample of the prompts."""
        samples, cache = self.sampling.samples, cast(Any, self.cache)
        for layer, prompt in zip(cache.layers, prompts.layers, strict=True):
            keys, values = prompt.keys.repeat_interleave(samples, 0), prompt.values.repeat_interleave(samples, 0)
            if not layer.is_initialized:
                layer.lazy_initialization(keys, values)
            layer.keys[:, :, : self.length].copy_(keys)
            layer.values[:, :, : self.length].copy_(values)
            layer.cumulative_length.fill_(self.length)
        columns = torch.arange(self.mask.shape[1], device=self.loaded.device)
        begins = self.begins.repeat_interleave(samples)[:, None]
        self.mask.copy_((columns >= begins) & (columns < self.length))

    def _run_growing(self, ids: list[list[int]]) -> None:
        """The same with a cache of the model's own kind, which grows."""
        samples = self.sampling.samples
        logits, cache = prefill(self.loaded, ids, self.length, self._prompts)
        cache.batch_repeat_interleave(samples)
        mask = padded(self.loaded, ids, self.length)[1].repeat_interleave(samples, 0)
        self.drawn.zero_()
        self._draw(logits.repeat_interleave(samples, 0))
        for _ in range(self.sampling.new_tokens - 1):
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            out = self.loaded.model(
                self.tokens,
                attention_mask=mask,
                position_ids=mask.sum(-1, keepdim=True) - 1,
                use_cache=True,
                logits_to_keep=1,
                **{self.cache_name: cache},
            )
            self._draw(out.logits[:, -1])

    def _run_unpadded(self, ids: list[list[int]]) -> None:
        """The same for prompts of equal length, with the cache that the model itself returns, or without one.

        Mask and positions are left to the model, which may read and number them in its own way.
        """
        model, takes = self.loaded.model, inspect.signature(self.loaded.model.forward).parameters
        cached = self.cache_name if self.way == "own" else None
        keep: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        tokens = torch.tensor(ids, device=self.loaded.device).repeat_interleave(self.sampling.samples, 0)
        self.drawn.zero_()
        for _ in range(self.sampling.new_tokens):
            out = model(tokens, use_cache=bool(cached), **keep)
            self._draw(out.logits[:, -1])
            if cached:
                keep[cached] = out[cached]
            tokens = self.tokens if cached else torch.cat([tokens, self.tokens], dim=1)

    def _captured(self, ids: list[list[int]], prompt: tuple[Tensor, Cache]) -> torch.cuda.CUDAGraph | None:
        """Return the step as a CUDA graph, or None where it cannot be captured."""

        def start() -> None:
            self._start(ids, *prompt)

        start()
        expected = self._drawn_by(self.step)
        difference = DIFFERENCE if self.loaded.model.dtype == torch.float32 else HALF_DIFFERENCE
        try:
            graph = capture(start, self.step, self.loaded.device)
            # What the graph writes; starting again draws the first token outside of it.
            logits = self.logits
            start()
            _, tokens = self._drawn_by(graph.replay)
            if same_draw((logits, tokens), expected, difference):
                return graph
            reason = "its draws are not those of the plain step"
        except torch.OutOfMemoryError:
            raise
        # Whatever a capture stumbles over, the plain step does without it.
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
        say(f"no CUDA graph of the step: it goes on without ({reason})")
        return None

    def _drawn_by(self, step: Callable[[], None]) -> tuple[Tensor, Tensor]:
        """Return the logits of the last of a few steps, and the tokens drawn so far; a second one reads the first's."""
        steps = min(2, self.sampling.new_tokens - 1)
        for _ in range(steps):
            step()
        return self.logits.clone(), self.made[:, : steps + 1].clone()


def _forbidden(loaded: LoadedModel) -> Tensor:
    """Return ids that are never drawn: end of text and other special tokens, and padding of the vocabulary."""
    vocabulary = loaded.model.get_output_embeddings().weight.shape[0]
    ids = {*loaded.tokenizer.all_special_ids, *range(len(loaded.tokenizer), vocabulary)}
    return torch.tensor(sorted(index for index in ids if index < vocabulary), dtype=torch.long, device=loaded.device)
