"""Frozen models, loaded from folders that `obtain` has made.

loaded = load_model("results/models/smollm2")           # a causal language model; or dtype="bfloat16"
loaded = load_classifier("results/models/toxicity")     # a sequence classifier
"""

import inspect
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from lm_steer.model.folder import check_folder
from lm_steer.model.kernels import quicken
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import fingerprint, reading, sha256_of
from lm_steer.util.formats import RECORD, read_record
from lm_steer.util.progress import say

DTYPES = ("float32", "bfloat16", "float16", "auto")
TOKENISED_AT_ONCE = 1000
CHARACTERS_AT_ONCE = 2_000_000
# A text of more characters a token than this is cut before it is tokenised, some tokens later than it has to be.
CHARACTERS = 16
SPARE = 64
# The most tokens of one text for a model without a bound of its own.
UNBOUNDED = 100_000
CACHES = ("past_key_values", "cache", "cache_params", "state")


@dataclass(frozen=True)
class LoadedModel:
    """A frozen model in eval mode, its tokenizer, the fingerprint that its results are kept under, and its id."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str
    name: str
    # What probes have learned of it (probe.py).
    probed: dict[Any, Any] = field(compare=False, repr=False, default_factory=dict)

    @property
    def device(self) -> torch.device:
        """The device of the model's weights."""
        return self.model.device

    # Read for every batch of texts, and looking through a large model's modules takes milliseconds.
    @cached_property
    def context(self) -> int | None:
        """The maximum context length in tokens; None where the model sets no bound."""
        config = self.model.config.get_text_config()
        bounds = (getattr(config, name, None) for name in ("max_position_embeddings", "max_seq_len"))
        context: int | None = next((bound for bound in bounds if bound and bound > 0), None)
        for module in self.model.modules():
            if not isinstance(module, torch.nn.Embedding) or module is self.model.get_input_embeddings():
                continue
            if context == module.num_embeddings and module.padding_idx is not None:
                # RoBERTa and its kin number positions from behind the padding's.
                return module.num_embeddings - module.padding_idx - 1
        return context

    @property
    def cache_name(self) -> str:
        """What the forward pass calls the cache that it takes; since transformers 5.24 it is `cache`."""
        takes = inspect.signature(self.model.forward).parameters
        return next((name for name in CACHES if name in takes), CACHES[0])

    def token_ids(self, texts: Sequence[str], max_length: int | None = None) -> list[list[int]]:
        """Tokenise texts, cut to `max_length`.

        It goes in parts, because the tokenizer's record of all texts would take gigabytes.
        Raises LMSteerError where a token is beyond the model's embeddings.
        """
        options = {"truncation": True, "max_length": max_length} if max_length else {}
        texts = texts_of(texts)
        texts = self.cut(texts, max_length) if max_length else texts
        at_once = max(1, min(TOKENISED_AT_ONCE, CHARACTERS_AT_ONCE // max((1, *map(len, texts)))))
        rows = getattr(self.model.get_input_embeddings(), "num_embeddings", math.inf)
        ids: list[list[int]] = []
        for start in range(0, len(texts), at_once):
            ids += self.tokenizer(texts[start : start + at_once], **options)["input_ids"]
        for text, row in zip(texts, ids, strict=True):
            if row and max(row) >= rows:
                raise LMSteerError(
                    f"the tokenizer of {self.name} gives {text[:60]!r} the token id {max(row)}, but the model has only "
                    f"{rows} embeddings: use the tokenizer that the model was trained with"
                )
        return ids

    def whole_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenise texts that must not be cut: LMSteerError where one is far beyond the context, or UNBOUNDED tokens.

        One that is a little beyond it is left to the caller, who knows what else must fit.
        """
        most = (self.context or UNBOUNDED) + SPARE
        ids = self.token_ids(texts, most + 1)
        for text, row in zip(texts, ids, strict=True):
            if len(row) > most:
                raise LMSteerError(
                    f"a text of {len(text):,} characters and more than {most} tokens does not fit the model's context "
                    f"of {self.context or UNBOUNDED}: {text[:60]!r}"
                )
        return ids

    def cut(self, texts: Sequence[str], max_length: int) -> list[str]:
        """Cut long texts to the characters that their first (or last) `max_length` tokens come from.

        A tokenizer takes two kilobytes per token, so a text of 20 MB would cost gigabytes before it is truncated.
        """
        return [self._cut(text, max_length + SPARE) for text in texts]

    def _cut(self, text: str, tokens: int) -> str:
        size = CHARACTERS * tokens
        while size < len(text):
            part = text[-size:] if self.tokenizer.truncation_side == "left" else text[:size]
            # Where a text ends shows in its last tokens alone; a tokenizer may drop characters, or join a great many.
            if len(self.tokenizer(part)["input_ids"]) >= tokens:
                return part
            size *= 4
        return text


def texts_of(texts: Sequence[str]) -> list[str]:
    """Return texts as a list; LMSteerError for a single string, and for items that are not valid UTF-8 text."""
    if isinstance(texts, str | Mapping) or not isinstance(texts, Iterable):
        raise LMSteerError(f"expected a list of texts, found {texts!r:.80}")
    for text in (texts := list(texts)):
        try:
            text.encode()
        except (AttributeError, UnicodeEncodeError):
            raise LMSteerError(f"expected a text, found {text!r:.80}") from None
    return texts


def load_model(folder: str | Path, dtype: str = "float32", device: str | None = None) -> LoadedModel:
    """Load a causal language model that `obtain` made, frozen; on the first GPU unless a device is named.

    dtype is one of DTYPES: what the weights are held and multiplied in. Results of one are not found by another.
    """
    return _load(AutoModelForCausalLM, Path(str(folder)), dtype_of(dtype, device), device)


def dtype_of(name: str, device: str | None = None) -> torch.dtype:
    """Return the dtype of a name; `auto` is bfloat16 where the GPU or processor multiplies it, else float32.

    What the hardware can do decides and not a stopwatch, so that all processes of a study choose alike. Measured on a
    processor with AVX512-BF16, bfloat16 takes a third to a half of float32's time; without, it is slower.
    """
    if name not in DTYPES:
        raise LMSteerError(f"unknown dtype '{name}': choose {', '.join(DTYPES)}")
    if name != "auto":
        named: torch.dtype = getattr(torch, name)
        return named
    if (device or _first_device()).startswith("cuda"):
        multiplies = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        can = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        multiplies = can.get("avx512_bf16", False) or can.get("amx_bf16", False)
    return torch.bfloat16 if multiplies else torch.float32


def _first_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_classifier(folder: str | Path, device: str | None = None) -> LoadedModel:
    """Load a sequence classifier that `obtain` made, in single precision; on the first GPU unless a device is named.

    On a GPU the process multiplies in TF32 from then on, several times as fast, for ten bits of a factor are enough.
    Raises LMSteerError for a model without a classifier's head, which would be drawn at random.
    """
    loaded = _load(AutoModelForSequenceClassification, Path(folder), torch.float32, device)
    torch.backends.cuda.matmul.allow_tf32 = True
    if loaded.model.config.pad_token_id is None:
        loaded.model.config.pad_token_id = loaded.tokenizer.pad_token_id
    return loaded


def pretrained(kind: Any, folder: str | Path, **options: Any) -> Any:
    """Return `kind.from_pretrained` of a local folder, without ever executing code that lies in it."""
    with reading(folder, f"a {'tokenizer' if kind is AutoTokenizer else 'model'} that can be loaded"):
        check_folder(Path(folder))
        try:
            return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
        except ValueError as error:
            if "Unrecognized configuration class" in str(error):
                raise LMSteerError(f"{folder} is of a type that {kind.__name__} does not load") from None
            if "custom code" not in str(error):
                raise
            raise LMSteerError(
                f"{folder} needs Python code from its own folder, which is never executed (trust_remote_code=False): "
                "choose a model of a type that transformers knows"
            ) from None


def _load(kind: Any, folder: Path, dtype: torch.dtype, device: str | None) -> LoadedModel:
    if not (folder / RECORD).exists():
        raise LMSteerError(f"{folder} is not a model: make it with `lm-steer model … -o {folder}`")
    device = device or _first_device()
    try:
        torch.zeros(1, device=device).item()
    except (AssertionError, RuntimeError, TypeError):
        raise LMSteerError(f"the device {device!r} is not available or has no memory left: choose another") from None
    say(f"load {folder}")
    record = read_record(folder)
    _verify(folder, record)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tokenizer = pretrained(AutoTokenizer, folder)
    model = whole_model(kind, folder, dtype, record["id"])
    model.config.return_dict = True
    tokenizer.pad_token = padding_token(tokenizer, model, folder)
    model.requires_grad_(False).eval().to(device)
    quicken(model)
    name = fingerprint([record["files"], str(dtype)])
    identifier = record["id"] if record["source"] != "folder" else Path(record["id"]).name
    return LoadedModel(model, tokenizer, name, identifier)


def whole_model(kind: Any, folder: Path, dtype: torch.dtype, name: str) -> PreTrainedModel:
    """Load a model of which nothing is drawn at random; LMSteerError where a weight is missing or of another shape."""
    model, report = pretrained(
        kind, folder, dtype=dtype, use_safetensors=True, ignore_mismatched_sizes=True, output_loading_info=True
    )
    for weight, shape, expected in sorted(report["mismatched_keys"]):
        shapes = f"{tuple(shape)}, by its config.json {tuple(expected)}"
        raise LMSteerError(f"{name}: the weight {weight} is {shapes}: one of the two is of another model")
    if report["missing_keys"]:
        first, *others = sorted(report["missing_keys"])
        more = f" (and {len(others)} more)" if others else ""
        raise LMSteerError(
            f"{name} has no weight {first}{more}, which a {type(model).__name__} needs: it is a model of "
            "another type, or incomplete"
        )
    made = str(getattr(model.config, "architectures", None)).strip("[']")
    # Its head may be tied to the embeddings, so that nothing is missing.
    if kind is AutoModelForCausalLM and "Classification" in made:
        raise LMSteerError(f"{name} is a {made}: give a causal language model")
    loaded: PreTrainedModel = model
    return loaded


def padding_token(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, origin: str | Path) -> str:
    """Return the padding token: any special token that the model has an embedding for."""
    rows = getattr(model.get_input_embeddings(), "num_embeddings", math.inf)
    for token in (tokenizer.pad_token, tokenizer.eos_token, tokenizer.bos_token, tokenizer.unk_token):
        index = None if token is None else tokenizer.convert_tokens_to_ids(token)
        if isinstance(index, int) and index < rows:
            return str(token)
    raise LMSteerError(
        f"{origin}: its tokenizer has no token to pad with: set its pad_token "
        "or eos_token (of a folder, in tokenizer_config.json)"
    )


def _verify(folder: Path, record: dict[str, Any]) -> None:
    """Raise LMSteerError where a file is not the one on record.

    Reading all weights takes seconds. What was not touched since the record was, or was last found right, is right.
    """
    seal = (folder / RECORD).stat()
    for name, checksum in record["files"].items():
        path = folder / name
        with reading(path, "a file"):
            changed = path.stat().st_ctime_ns > seal.st_ctime_ns and sha256_of(path) != checksum
        if changed:
            raise LMSteerError(
                f"{path} was changed after the model was made: its sha256 is not that of {RECORD}; make the model "
                f"again with `lm-steer model --source {record['source']} --id {record['id']} -o {folder}`"
            )
    with suppress(OSError):
        os.utime(folder / RECORD, ns=(seal.st_atime_ns, seal.st_mtime_ns))
