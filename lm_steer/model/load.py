"""Load frozen models from folders created by `obtain`.

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

# Files of a model's folder that transformers reads, by their names' ends.
READ = (".json", ".safetensors", ".jinja", ".model", ".txt")
DTYPES = ("float32", "bfloat16", "float16", "auto")
TOKENISED_AT_ONCE = 1000
CHARACTERS_AT_ONCE = 2_000_000
# A text with more characters per token than this is cut before it is tokenised, with SPARE tokens to spare.
CHARACTERS = 16
SPARE = 64
# The maximum number of tokens per text for a model without a context limit.
UNBOUNDED = 100_000
CACHES = ("past_key_values", "cache", "cache_params", "state")
NO_TOKENIZER = "has no whole tokenizer: add its files, tokenizer.json and tokenizer_config.json"


@dataclass(frozen=True)
class LoadedModel:
    """A frozen model in eval mode, its tokenizer, the fingerprint that identifies its results, and its id."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str
    name: str
    # Results of probes (probe.py).
    probed: dict[Any, Any] = field(compare=False, repr=False, default_factory=dict)

    @property
    def device(self) -> torch.device:
        """The device of the model's weights."""
        return self.model.device

    # Cached, because it is read for every batch and walking a large model's modules takes milliseconds.
    @cached_property
    def context(self) -> int | None:
        """The maximum context length in tokens; None if the model sets no limit."""
        config = self.model.config.get_text_config()
        bounds = (getattr(config, name, None) for name in ("max_position_embeddings", "max_seq_len"))
        context: int | None = next((bound for bound in bounds if bound and bound > 0), None)
        for module in self.model.modules():
            if not isinstance(module, torch.nn.Embedding) or module is self.model.get_input_embeddings():
                continue
            if context == module.num_embeddings and module.padding_idx is not None:
                # RoBERTa and related models number positions from the padding index on.
                return module.num_embeddings - module.padding_idx - 1
        return context

    @property
    def cache_name(self) -> str:
        """The name of the forward pass's cache argument, which is `cache` since transformers 5.24."""
        parameters = inspect.signature(self.model.forward).parameters
        return next((name for name in CACHES if name in parameters), CACHES[0])

    def token_ids(self, texts: Sequence[str], max_length: int | None = None) -> list[list[int]]:
        """Tokenise texts, cut to `max_length`, in parts, because the encodings of all texts could take gigabytes.

        Raises LMSteerError if a token id is beyond the model's embeddings.
        """
        options = {"truncation": True, "max_length": max_length} if max_length else {}
        texts = texts_of(texts)
        texts = self.cut(texts, max_length) if max_length else texts
        at_once = max(1, min(TOKENISED_AT_ONCE, CHARACTERS_AT_ONCE // max((1, *map(len, texts)))))
        rows = getattr(self.model.get_input_embeddings(), "num_embeddings", math.inf)
        ids: list[list[int]] = []
        for start in range(0, len(texts), at_once):
            # A vocabulary without a token for what it does not know raises an Exception.
            with reading(f"the tokenizer of {self.name}", "one that takes the texts"):
                ids += self.tokenizer(texts[start : start + at_once], **options)["input_ids"]
        for text, row in zip(texts, ids, strict=True):
            if row and max(row) >= rows:
                raise LMSteerError(
                    f"the tokenizer of {self.name} gives {text[:60]!r} the token id {max(row)}, but the model has only "
                    f"{rows} embeddings: use the tokenizer that the model was trained with"
                )
        return ids

    def whole_ids(self, texts: Sequence[str], spare: int = SPARE) -> list[list[int]]:
        """Tokenise texts that must not be cut; LMSteerError if one is longer than the context, or UNBOUNDED tokens.

        Texts up to `spare` tokens longer are left to the caller, who knows what else must fit.
        """
        most = (self.context or UNBOUNDED) + spare
        ids = self.token_ids(texts, most + 1)
        for text, row in zip(texts, ids, strict=True):
            if len(row) > most:
                raise LMSteerError(
                    f"a text of {len(text):,} characters and more than {most} tokens does not fit in the model's "
                    f"context of {self.context or UNBOUNDED}: {text[:60]!r}"
                )
        return ids

    def cut(self, texts: Sequence[str], max_length: int) -> list[str]:
        """Cut long texts to the characters behind their first (or last) `max_length` tokens.

        A tokenizer takes two kilobytes per token, so a text of 20 MB would take gigabytes before it is truncated.
        """
        return [self._cut(text, max_length + SPARE) for text in texts]

    def _cut(self, text: str, tokens: int) -> str:
        size = CHARACTERS * tokens
        while size < len(text):
            part = text[-size:] if self.tokenizer.truncation_side == "left" else text[:size]
            # Cutting changes only the last tokens; a tokenizer may drop characters, or merge many into one token.
            if len(self.tokenizer(part)["input_ids"]) >= tokens:
                return part
            size *= 4
        return text


def texts_of(texts: Sequence[str]) -> list[str]:
    """Return texts as a list; LMSteerError for a single string, or items that are not valid UTF-8 text."""
    if isinstance(texts, str | Mapping) or not isinstance(texts, Iterable):
        raise LMSteerError(f"expected a list of texts, found {texts!r:.80}")
    for text in (texts := list(texts)):
        try:
            text.encode()
        except (AttributeError, UnicodeEncodeError):
            raise LMSteerError(f"expected a text, found {text!r:.80}") from None
    return texts


def load_model(folder: str | Path, dtype: str = "float32", device: str | torch.device | None = None) -> LoadedModel:
    """Load a frozen causal language model from a folder created by `obtain`, by default on the first GPU.

    `dtype`, one of DTYPES, is the dtype of weights and products; cached results of different dtypes are separate.
    """
    return _load(AutoModelForCausalLM, Path(str(folder)), dtype_of(dtype, device), device)


def dtype_of(name: str, device: str | torch.device | None = None) -> torch.dtype:
    """Return the dtype of a name; `auto` is bfloat16 if the GPU or processor multiplies it in hardware, else float32.

    Hardware capabilities decide and not timings, so that all processes of a study make the same choice. On a processor
    with AVX512-BF16, bfloat16 takes a third to a half of float32's time; without, it is slower.
    """
    if name not in DTYPES:
        raise LMSteerError(f"unknown dtype '{name}': choose {', '.join(DTYPES)}")
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if str(device or _first_device()).startswith("cuda"):
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        has_bfloat16 = capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False)
    return torch.bfloat16 if has_bfloat16 else torch.float32


def _first_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_classifier(folder: str | Path, device: str | None = None) -> LoadedModel:
    """Load a sequence classifier in float32 from a folder created by `obtain`, by default on the first GPU.

    On a GPU the process multiplies in TF32 from then on: ten bits of mantissa suffice, at several times the speed.
    Raises LMSteerError for a model without a classification head, which would be initialised at random.
    """
    loaded = _load(AutoModelForSequenceClassification, Path(folder), torch.float32, device)
    torch.backends.cuda.matmul.allow_tf32 = True
    if loaded.model.config.pad_token_id is None:
        loaded.model.config.pad_token_id = loaded.tokenizer.pad_token_id
    return loaded


def pretrained(kind: Any, folder: str | Path, **options: Any) -> Any:
    """Return `kind.from_pretrained` of a local folder, never executing code from it."""
    with reading(folder, f"a {'tokenizer' if kind is AutoTokenizer else 'model'} that can be loaded"):
        check_folder(Path(folder))
        try:
            return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
        except ValueError as error:
            if "Unrecognized configuration class" in str(error):
                raise LMSteerError(f"{folder} is of a model type that {kind.__name__} does not load") from None
            if "backend tokenizer" in str(error):
                raise LMSteerError(f"{folder} {NO_TOKENIZER}") from None
            if "custom code" not in str(error):
                raise
            raise LMSteerError(
                f"{folder} needs Python code from its own folder, which is never executed (trust_remote_code=False): "
                "choose a model of a type that transformers supports"
            ) from None


def _load(kind: Any, folder: Path, dtype: torch.dtype, device: str | torch.device | None) -> LoadedModel:
    if not os.path.exists(folder / RECORD):
        place = str(folder)[:200]
        raise LMSteerError(f"{place} has no {RECORD}: run `lm-steer model` first, and give the folder it creates")
    device = usable_device(device)
    say(f"load {folder}")
    record = read_record(folder)
    _verify(folder, record)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tokenizer = pretrained(AutoTokenizer, folder)
    # transformers makes an empty one where there is none.
    if tokenizer.get_vocab().keys() <= {*tokenizer.all_special_tokens}:
        raise LMSteerError(f"{record['id']} {NO_TOKENIZER}")
    merges: Any = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    if getattr(merges, "dropout", None):
        # BPE dropout, meant for training, would tokenise the same text differently each time.
        merges.dropout = None
    model = whole_model(kind, folder, dtype, record["id"])
    model.config.return_dict = True
    tokenizer.pad_token = padding_token(tokenizer, model, folder)
    model.requires_grad_(False).eval().to(device)
    quicken(model)
    name = fingerprint([record["files"], str(dtype)])
    identifier = record["id"] if record["source"] != "folder" else Path(record["id"]).name
    return LoadedModel(model, tokenizer, name, identifier)


def usable_device(device: str | torch.device | None) -> str | torch.device:
    """Return a device, or the first one there is; LMSteerError where nothing can be computed on it."""
    device = device or _first_device()
    try:
        torch.zeros(1, device=device).item()
    except (AssertionError, RuntimeError, TypeError):
        raise LMSteerError(f"the device {device!r} is not available or has no memory left: choose another") from None
    return device


def whole_model(kind: Any, folder: Path, dtype: torch.dtype, name: str) -> PreTrainedModel:
    """Load a model with all of its weights; LMSteerError if one is missing or has the wrong shape."""
    model, report = pretrained(
        kind, folder, dtype=dtype, use_safetensors=True, ignore_mismatched_sizes=True, output_loading_info=True
    )
    for weight, shape, expected in sorted(report["mismatched_keys"]):
        raise LMSteerError(
            f"{name}: the weight {weight} has shape {tuple(shape)}, but config.json expects {tuple(expected)}: replace "
            "the config or the weights by those of the same model"
        )
    if report["missing_keys"]:
        first, *others = sorted(report["missing_keys"])
        more = f" (and {len(others)} more)" if others else ""
        raise LMSteerError(
            f"{name} has no weight {first}{more}, which a {type(model).__name__} needs: it is of another model type, "
            "or incomplete"
        )
    architecture = str(getattr(model.config, "architectures", None)).strip("[']")
    # A classifier's output head may be tied to its embeddings, so that no weight is missing.
    if kind is AutoModelForCausalLM and "Classification" in architecture:
        raise LMSteerError(f"{name} is a {architecture}: give a causal language model")
    loaded: PreTrainedModel = model
    return loaded


def padding_token(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, origin: str | Path) -> str:
    """Return the padding token, or else any special token that the model has an embedding for."""
    rows = getattr(model.get_input_embeddings(), "num_embeddings", math.inf)
    for token in (tokenizer.pad_token, tokenizer.eos_token, tokenizer.bos_token, tokenizer.unk_token):
        index = None if token is None else tokenizer.convert_tokens_to_ids(token)
        if isinstance(index, int) and index < rows:
            return str(token)
    raise LMSteerError(
        f"{origin}: the tokenizer has no token to pad with: set its pad_token "
        "or eos_token (for a folder, in tokenizer_config.json)"
    )


def _verify(folder: Path, record: dict[str, Any]) -> None:
    """Raise LMSteerError if a file differs from its recorded checksum, or one that would be read is not on record.

    Reading all weights takes seconds, so files that have not changed since the record's last check are not read.
    """
    seal = (folder / RECORD).stat()
    again = f"create the model again with `lm-steer model --source {record['source']} --id {record['id']} -o {folder}`"
    for path in folder.iterdir():
        if path.suffix in READ and path.name not in (RECORD, *record["files"]):
            raise LMSteerError(f"{path} is not in {RECORD}: remove what was added to the model, or {again}")
    for name, checksum in record["files"].items():
        path = folder / name
        with reading(path, "a file"):
            changed = path.stat().st_ctime_ns > seal.st_ctime_ns and sha256_of(path) != checksum
        if changed:
            raise LMSteerError(
                f"{path} has changed since the model was created: its sha256 differs from {RECORD}; {again}"
            )
    with suppress(OSError):
        os.utime(folder / RECORD, ns=(seal.st_atime_ns, seal.st_mtime_ns))
