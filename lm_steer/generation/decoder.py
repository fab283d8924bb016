"""Decode a block of prompts: each prompt once, then its samples token by token, in fixed shapes.

    decoder = Decoder(loaded, prompts=32, length=32, sampling=sampling)
    tokens = decoder.run(ids, uniforms)                          # (prompts, samples, new_tokens)

The prompts' keys and values go into a static cache, repeated for their samples or shared by them (shared.py), and a
decode step reads and writes buffers at fixed addresses. On a GPU the step is therefore captured as a CUDA graph
(capture.py), whose draws are first compared with those of the plain step; models that cannot be captured use the plain
step. Models with other caches (sliding windows, states), or none, use their own (way.py).
"""

import inspect
from collections.abc import Callable, Collection
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

# Between larger float32 logits, rounding steps are too coarse for probabilities.
LARGEST_LOGIT = 1e6
# The token of rows whose logits are not finite or too large.
UNUSABLE = -1


class Decoder:
    """Buffers for blocks of `prompts` prompts, padded on the left to `length`; smaller blocks are filled up."""

    def __init__(
        self,
        loaded: LoadedModel,
        prompts: int,
        length: int,
        sampling: Sampling,
        way: str = "static",
        ends: Collection[int] = (),
    ) -> None:
        """`way` is one of the ways listed in way.py; of the special tokens only `ends` may be drawn."""
        self.loaded, self.prompts, self.length, self.sampling = loaded, prompts, length, sampling
        rows, total, device = prompts * sampling.samples, length + sampling.new_tokens, loaded.device
        self.tokens = torch.zeros(rows, 1, dtype=torch.long, device=device)
        self.positions = torch.zeros_like(self.tokens)
        # Attention to shared prompts ignores the mask, which only keeps the model from looking for padding.
        shape = (1, 1, 1, 1) if way == "shared" else (rows, total)
        self.mask = torch.zeros(shape, dtype=torch.long, device=device)
        self.begins = torch.zeros(prompts, dtype=torch.long, device=device)
        self.uniforms = torch.zeros(rows, sampling.new_tokens, tries(sampling.top_p), device=device)
        self.output = torch.zeros(rows, sampling.new_tokens, dtype=torch.long, device=device)
        # The number of tokens drawn so far.
        self.count = torch.zeros(1, dtype=torch.long, device=device)
        self.usable = torch.ones(rows, 1, dtype=torch.bool, device=device)
        self.forbidden = _forbidden(loaded, ends)
        self.way, self.cache_name = way, loaded.cache_name
        config = loaded.model.config
        self.cache: Cache | None = SharedCache(config, sampling.new_tokens) if way == "shared" else None
        if way == "static":
            self.cache = StaticCache(config=config, max_cache_len=total)
        # Not `graph or self.step`: a reference to itself would keep the cache in memory until garbage collection.
        self.graph: torch.cuda.CUDAGraph | None = None
        self.tried = False

    @torch.no_grad()
    def run(self, ids: list[list[int]], uniforms: Tensor) -> Tensor:
        """Return new tokens (prompts, samples, new_tokens), on the device; UNUSABLE in rows without usable logits.

        ids are the prompts' token ids; uniforms (prompts · samples, new_tokens, tries(top_p)) are in [0, 1).
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
                self.graph, self.tried = self._graph(filled, prompt), True
            self._start(filled, *prompt)
            for _ in range(self.sampling.new_tokens - 1):
                self.graph.replay() if self.graph else self.step()
        output = self.output.masked_fill(~self.usable, UNUSABLE)
        return output.unflatten(0, (self.prompts, self.sampling.samples))[: len(ids)]

    def step(self) -> None:
        """Run the last token of every row through the model and draw the next one."""
        if self.way == "static":
            self.mask.index_fill_(1, self.count + (self.length - 1), 1)
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
        uniforms = self.uniforms.index_select(1, self.count).squeeze(1)
        tokens = sample_tokens(self.logits, uniforms, self.sampling.top_p, self.sampling.top_k)[:, None]
        self.output.index_copy_(1, self.count, tokens)
        self.tokens.copy_(tokens)
        self.count.add_(1)

    def _prompts(self, tokens: Tensor, mask: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        """Return the logits (prompts, vocabulary) of each prompt's next token."""
        # An index tensor and not a number: the head's input is then contiguous, and several times faster on a CPU.
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
        """Set every buffer to the block's prompts and draw the first token."""
        samples = self.sampling.samples
        lengths = sent(torch.tensor([len(row) for row in ids]), self.loaded.device)
        self.begins.copy_(self.length - lengths)
        self.positions.copy_((lengths - 1).repeat_interleave(samples)[:, None])
        if isinstance(self.cache, SharedCache):
            self.cache.start(prompts, samples, self.begins)
        else:
            self._repeat(prompts)
        self.count.zero_()
        # A rejected graph may have changed it.
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
        """Decode with a growing cache of the model's own kind."""
        samples = self.sampling.samples
        logits, cache = prefill(self.loaded, ids, self.length, self._prompts)
        cache.batch_repeat_interleave(samples)
        mask = padded(self.loaded, ids, self.length)[1].repeat_interleave(samples, 0)
        self.count.zero_()
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
        """Decode prompts of equal length with the cache that the model returns, or without a cache.

        Mask and positions are left to the model, which may define them in its own way.
        """
        model, parameters = self.loaded.model, inspect.signature(self.loaded.model.forward).parameters
        cache_name = self.cache_name if self.way == "own" else None
        options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}
        tokens = torch.tensor(ids, device=self.loaded.device).repeat_interleave(self.sampling.samples, 0)
        self.count.zero_()
        for _ in range(self.sampling.new_tokens):
            out = model(tokens, use_cache=bool(cache_name), **options)
            self._draw(out.logits[:, -1])
            if cache_name:
                options[cache_name] = out[cache_name]
            tokens = self.tokens if cache_name else torch.cat([tokens, self.tokens], dim=1)

    def _graph(self, ids: list[list[int]], prompt: tuple[Tensor, Cache]) -> torch.cuda.CUDAGraph | None:
        """Return the decode step as a CUDA graph, or None if it cannot be captured."""

        def start() -> None:
            self._start(ids, *prompt)

        start()
        expected = self._draws_of(self.step)
        difference = DIFFERENCE if self.loaded.model.dtype == torch.float32 else HALF_DIFFERENCE
        try:
            graph = capture(start, self.step, self.loaded.device)
            # The graph's output buffer: start() draws the first token outside the graph, from other logits.
            logits = self.logits
            start()
            _, tokens = self._draws_of(graph.replay)
            if same_draw((logits, tokens), expected, difference):
                return graph
            reason = "its draws differ from those of the plain step"
        except torch.OutOfMemoryError:
            raise
        # Any error only means that there is no graph.
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
        say(f"decoding without a CUDA graph, which is slower ({reason})")
        return None

    def _draws_of(self, step: Callable[[], None]) -> tuple[Tensor, Tensor]:
        """Return the last logits and all tokens after two steps, of which the second reads what the first writes."""
        steps = min(2, self.sampling.new_tokens - 1)
        for _ in range(steps):
            step()
        return self.logits.clone(), self.output[:, : steps + 1].clone()


def _forbidden(loaded: LoadedModel, ends: Collection[int]) -> Tensor:
    """Return the ids that are never drawn: special tokens other than `ends`, and padding of the vocabulary."""
    vocabulary = loaded.model.get_output_embeddings().weight.shape[0]
    ids = {*loaded.tokenizer.all_special_ids, *range(len(loaded.tokenizer), vocabulary)}.difference(ends)
    return torch.tensor(sorted(index for index in ids if index < vocabulary), dtype=torch.long, device=loaded.device)
