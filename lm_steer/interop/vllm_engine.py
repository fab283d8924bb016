"""vLLM in a separate process and environment: the options of a command, requests and answers."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import AutoTokenizer, GenerationConfig

from lm_steer.model.load import pretrained
from lm_steer.util.answers import read_answer
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import fitting, parse_json, write_json
from lm_steer.util.progress import say


@dataclass(frozen=True)
class Vllm:
    """A model in vLLM: its folder, the Python of vLLM's environment, and more options of vllm.LLM."""

    folder: Path
    python: str
    dtype: str = "float32"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer: vLLM takes and returns ids."""
        return pretrained(AutoTokenizer, self.folder)

    @property
    def generation_config(self) -> GenerationConfig | None:
        """The generation config in the model's folder, if any: it says which tokens end an answer."""
        exists = (self.folder / "generation_config.json").exists()
        return pretrained(GenerationConfig, self.folder) if exists else None

    def answers(self, requests: list[dict[str, Any]], sampling: list[dict[str, Any]] | None, steers: list[str]) -> Any:
        """Return vLLM's answers (see `vllm_batch`); `steers` are folders, named s0, s1, …"""
        engine = {"model": str(self.folder), "dtype": self.dtype, **self.options}
        with TemporaryDirectory() as place:
            request, answer, named = (Path(place) / name for name in ("request.json", "answer.json", "steers.json"))
            write_json(request, {"engine": engine, "sampling": sampling, "requests": requests})
            write_json(named, {"steers": {f"s{number}": folder for number, folder in enumerate(steers)}})
            settings = {"LM_STEER_VLLM": str(named) if steers else "", "HF_HUB_OFFLINE": "1"}
            command = [self.python, "-m", "lm_steer.interop.vllm_batch", str(request), str(answer)]
            say(f"start vLLM for {len(requests)} requests")
            try:
                status = subprocess.run(command, env={**os.environ, **settings}).returncode
            except OSError as error:
                raise LMSteerError(
                    f"--vllm {self.python} cannot be run ({error.strerror}): name the Python of vLLM's venv"
                ) from None
            if status:
                raise LMSteerError(
                    f"vLLM ended with status {status}, for the reason above; {self.python} needs vllm and lm-steer: "
                    "pip install 'lm-steer[vllm]'"
                )
            return read_answer(answer, [[int]] if sampling else [int | float], self.python, len(requests))


def vllm_of(folder: Path, dtype: str, python: str, options: str) -> Vllm:
    """Return the engine of a command's options; `options` is a JSON mapping, or empty."""
    place = "--vllm-options"
    engine: dict[str, Any] = fitting(parse_json(options or "{}", place), dict, place)
    if options and not python:
        raise LMSteerError(f"{place} needs --vllm: name the Python of vLLM's venv")
    for name in ("model", "dtype"):
        if name in engine:
            raise LMSteerError(f"{place}: leave out {name!r}, which the command has an option for")
    return Vllm(folder, python, dtype, engine)


def ids_of(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of whole texts."""
    ids: list[list[int]] = tokenizer(list(texts))["input_ids"] if texts else []
    return ids
