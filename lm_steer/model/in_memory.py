"""Use a model and a tokenizer that the caller has loaded, in place and without changing them."""

import copy
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lm_steer.model.head import output_head
from lm_steer.model.load import LoadedModel, padding_token
from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import check_kind

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@contextmanager
def in_memory(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, cache: str | Path | None = None
) -> Iterator[tuple[LoadedModel, Path]]:
    """Yield a causal LM in eval mode and a folder for intermediate results: `cache`, or a temporary one.

    Entries in `cache` are keyed by the content of the weights, so that two models never share hidden states.
    Raises LMSteerError if `model` is not a causal LM, or `tokenizer` not a tokenizer.
    """
    output_head(model)
    if model.device.type == "meta" or model.dtype not in DTYPES:
        raise LMSteerError(
            f"the model's weights are {str(model.dtype).removeprefix('torch.')} on the device {model.device}: load "
            "them as float32, bfloat16 or float16, on a processor or a GPU"
        )
    check_kind(PreTrainedTokenizerBase, tokenizer=tokenizer)
    check_kind(str | Path, cache=cache or "")
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.pad_token = padding_token(tokenizer, model, "the tokenizer")
    name = str(getattr(model.config, "name_or_path", "") or model.config.model_type)
    modes = [(module, module.training) for module in model.modules()]
    with ExitStack() as stack:
        folder = Path(cache or stack.enter_context(tempfile.TemporaryDirectory()))
        model.eval()
        try:
            fingerprint = content_of(model) if cache else name
            yield LoadedModel(model, tokenizer, fingerprint, name, probed_before(model, tokenizer)), folder
        finally:
            for module, mode in modes:
                module.training = mode


# For each model that the caller has loaded: its state when it was probed, and the results of the probes.
_PROBED: WeakKeyDictionary[PreTrainedModel, tuple[Any, dict[Any, Any]]] = WeakKeyDictionary()


def probed_before(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[Any, Any]:
    """Return the probe results of earlier calls, since probing takes seconds; none if the model has changed since.

    A weight that was replaced, moved or changed in place has a new address or version.
    """
    weights = [(weight.data_ptr(), 0 if weight.is_inference() else weight._version) for weight in model.parameters()]
    state = (weights, model.device, model.config._attn_implementation, len(tokenizer))
    if model not in _PROBED or _PROBED[model][0] != state:
        _PROBED[model] = (state, {})
    return _PROBED[model][1]


# The models that analyses accept: what `load_model` returns, or (model, tokenizer).
AnyModel = LoadedModel | tuple[PreTrainedModel, PreTrainedTokenizerBase]


def loaded_of(model: AnyModel, cache: str | Path = ":memory:") -> LoadedModel:
    """Return (model, tokenizer) as `load_model` would; entries in `cache` are keyed by the model's weights.

    Raises LMSteerError for anything else, and for a model in training mode, where dropout is active.
    """
    if isinstance(model, LoadedModel):
        return model
    if not (isinstance(model, tuple) and len(model) == 2):
        value = " ".join(repr(model).split())[:80]
        raise LMSteerError(f"loaded: expected what load_model returns, or (model, tokenizer), found {value}")
    with in_memory(*model, cache=None if cache == ":memory:" else cache) as (loaded, _):
        pass
    if loaded.model.training:
        raise LMSteerError("the model is in training mode: call model.eval() before the analysis")
    return loaded


def content_of(model: torch.nn.Module) -> str:
    """Return a fingerprint of a model's weights: their names, dtypes, shapes and content."""
    digest = hashlib.sha256()
    for name, weight in model.state_dict().items():
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
