"""Steers in vLLM: a plug-in that steers each request at its own values, in any installation of vLLM.

    pip install lm-steer                                        # beside vLLM
    LM_STEER_VLLM="mood=results/steers/smollm2/sentiment/seed0 detox=someone/detox" vllm serve …

    SamplingParams(extra_args={"steer": {"sentiment": 5, "corpus": 1}})
    {"prompt": "The film is", "vllm_xargs": {"steer": "sentiment=5 corpus=1"}}                     # over HTTP

LM_STEER_VLLM names steers by folder or id of the hub, or is the path of a JSON file: {"steers": {name: folder},
"share": .999}. A dimension that several of them have is called by both names, `mood.corpus`. Without any, vLLM runs
as without the plug-in. A request that cannot be steered is refused (HTTP 400), never served unsteered.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from vllm.v1.sample.logits_processor import LogitsProcessor, process_dict_updates

from lm_steer.core.steer import Steer, is_finite
from lm_steer.core.values import parse_values
from lm_steer.interop.logits import SHARE, LogitsMap, logits_map
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import read_json
from lm_steer.util.options import A_STEER_VALUE, check
from lm_steer.util.progress import say
from lm_steer.util.words import pairs_of, unknown

# One class serves vLLM's two model runners, because both load the same entry point.
try:
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as SecondProcessor
except ImportError:
    SecondProcessor = object

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.sampling_params import SamplingParams

VARIABLE = "LM_STEER_VLLM"
# Options that change logits before a plug-in sees them, so that they no longer determine the hidden state.
BEFORE = ("structured_outputs", "allowed_token_ids", "bad_words", "logit_bias", "min_tokens")
PENALTIES = {"presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0}


class SteerRequests(LogitsProcessor, SecondProcessor):  # type: ignore[misc]
    """Adds to the logits of each request what the named steers add at its values."""

    def __init__(self, config: "VllmConfig", place: Any, is_pin_memory: bool = False) -> None:
        """`place` is a device, or the second runner's state of its requests."""
        self.device = getattr(place, "device", place)
        steers, share = named_steers()
        model = config.model_config
        self.maps = {
            name: logits_map(steer, model.model, share=share, dtype=model.dtype).to(self.device)
            for name, steer in steers.items()
        }
        for name, steering in self.maps.items():
            say(f"steer {name}: {_described(steering)}")
        width = sum(len(steer.dimensions) for steer in steers.values())
        self.requests: dict[int, tuple[float, ...]] = {}
        self.rows = torch.zeros(0, dtype=torch.long, device=self.device)
        self.values = torch.zeros(0, width, device=self.device)
        self.table = torch.zeros(getattr(place, "max_num_reqs", 0), width + 1)
        self.staged = False

    def is_argmax_invariant(self) -> bool:
        """Return False: steers change the most probable token."""
        return False

    @classmethod
    def validate_params(cls, params: "SamplingParams") -> None:
        """Raise ValueError if a request cannot be steered as it asks."""
        try:
            if request_values(params) is not None:
                for problem in _problems(params, _running()):
                    raise LMSteerError(f"a steered request {problem}")
        except LMSteerError as error:
            raise ValueError(str(error)) from None

    def update_state(self, batch_update: Any) -> None:
        """Follow requests that are added, removed or moved; between such changes nothing is done per token."""
        if process_dict_updates(self.requests, batch_update, lambda params, _, __: request_values(params)):
            self.rows = torch.tensor(list(self.requests), dtype=torch.long, device=self.device)
            self.values = torch.tensor(list(self.requests.values()), device=self.device)

    def add_request(self, req_idx: int, sampling_params: "SamplingParams") -> bool:
        """Store the values of a request, with a last column that says that it is steered."""
        values = request_values(sampling_params)
        self.table[req_idx] = torch.zeros(1) if values is None else torch.tensor([*values, 1.0])
        self.staged = True
        return values is not None

    def apply_staged_writes(self) -> None:
        """Copy new values to the device before the forward pass."""
        if self.staged:
            self.values, self.staged = self.table.to(self.device, non_blocking=True), False

    def apply(self, logits: Tensor, context: Any = None) -> Tensor:
        """Steer the rows of steered requests, and leave the others as they are, bit for bit."""
        if context is not None:
            if not self.table[torch.from_numpy(context.idx_mapping_np).long(), -1].any():
                return logits
            values = self.values[context.expanded_idx_mapping.long()]
            return torch.where(values[:, -1:] > 0, logits + self._added(logits, values[:, :-1]), logits)
        if len(self.rows):
            plain = logits[self.rows]
            logits[self.rows] = plain + self._added(plain, self.values).to(logits.dtype)
        return logits

    def _added(self, logits: Tensor, values: Tensor) -> Tensor:
        added, first = torch.zeros_like(logits, dtype=torch.float32), 0
        for steering in self.maps.values():
            last = first + len(steering.steer.dimensions)
            added += steering.added(logits, values[:, first:last])
            first = last
        return added


@cache
def named_steers() -> tuple[dict[str, Steer], float]:
    """Return the steers that the environment names, and the share of their effects to keep."""
    text = os.environ.get(VARIABLE, "").strip()
    if text.endswith(".json"):
        settings = read_json(text, {"steers": {str: str}})
        folders, share = settings.pop("steers"), settings.pop("share", SHARE)
        if settings:
            raise LMSteerError(f"{text}: expected the keys steers and share, found {', '.join(settings)[:80]} as well")
    else:
        folders, share = pairs_of(VARIABLE, text.split(), "name=folder"), SHARE
    return {name: Steer.from_pretrained(folder) for name, folder in folders.items()}, share


@cache
def _dimensions() -> dict[str, int]:
    """Return the index of each dimension in the values of a request, by each of its names."""
    steers, _ = named_steers()
    places = [(name, dimension) for name, steer in steers.items() for dimension in steer.dimensions]
    plain = [dimension for _, dimension in places]
    full = {f"{name}.{dimension}": place for place, (name, dimension) in enumerate(places)}
    return full | {dimension: place for place, dimension in enumerate(plain) if plain.count(dimension) == 1}


def request_values(params: "SamplingParams") -> tuple[float, ...] | None:
    """Return the values of all dimensions that a request asks for, in the order of `named_steers`; None without any."""
    steer = (params.extra_args or {}).get("steer")
    if steer is None:
        return None
    values = parse_values(steer) if isinstance(steer, str) else steer
    if not isinstance(values, Mapping):
        raise LMSteerError(f'steer: expected values by name, as {{"style": 5}} or "style=5", found {steer!r:.80}')
    places = _dimensions()
    if not places:
        raise LMSteerError(f"steer: no steer is named: start vLLM with {VARIABLE}='name=folder'")
    vector: dict[int, float] = {}
    for name, value in values.items():
        if name not in places:
            raise LMSteerError(f"steer: {unknown(str(name), places, 'dimension')}")
        if not is_finite(value):
            raise LMSteerError(f"steer: the value of '{name}' must be a finite number, not {value!r:.80}")
        check(f"steer: {name}", value, [A_STEER_VALUE])
        if places[name] in vector:
            raise LMSteerError(f"steer: the value of '{name}' is given twice, under two names of the dimension")
        vector[places[name]] = float(value)
    return tuple(vector.get(place, 0.0) for place in range(len(set(places.values()))))


def _problems(params: "SamplingParams", config: "VllmConfig") -> Iterator[str]:
    """Yield the options of a request that would drop its steer, or return numbers without it."""
    if config.speculative_config and not config.use_v2_model_runner:
        yield "cannot be served under speculative decoding, which drops logits processors: start vLLM without it"
    for name in BEFORE:
        if getattr(params, name, None):
            yield f"cannot have {name}, which changes the logits before the steer sees them"
    if config.use_v2_model_runner:
        for name, neutral in PENALTIES.items():
            if getattr(params, name, neutral) != neutral:
                yield (
                    f"cannot have a {name} here, which changes the logits before the steer sees them: leave it at "
                    f"{neutral:g}, or start vLLM with VLLM_USE_V2_MODEL_RUNNER=0"
                )
    if params.prompt_logprobs is not None:
        yield "cannot have prompt_logprobs, which are those of the unsteered model"
    if params.logprobs is not None and not config.model_config.logprobs_mode.startswith("processed"):
        yield "has logprobs only if vLLM is started with --logprobs-mode processed_logprobs: others are unsteered"


def _running() -> "VllmConfig":
    """Return the config of the running vLLM, from the caller's frame: a validator is given only the request."""
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        config = getattr(frame.f_locals.get("self"), "vllm_config", None)
        if config is not None:
            return config
    raise LMSteerError("cannot be served by this version of vLLM, whose config cannot be read: use 0.32")


def _described(steering: LogitsMap) -> str:
    size = (steering.up.nbytes + steering.down.nbytes) / 1e6
    ranks = steering.dimension.bincount(minlength=len(steering.steer.dimensions)).tolist()
    listed = ", ".join(f"{name} (rank {rank})" for name, rank in zip(steering.steer.dimensions, ranks, strict=True))
    return f"{listed}; {size:.0f} MB, numerical error {steering.error:.1g} of the effect"
