"""Checkpoints, from which an interrupted training resumes.

checkpoint = Checkpoint(folder, identity)
step, log = checkpoint.load(weights, optimizer)
checkpoint.save(step, weights, optimizer, log)
"""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from lm_steer.util.code_digest import code_digest
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import fingerprint, replacing
from lm_steer.util.formats import read_tensors
from lm_steer.util.progress import say

# On a GPU, writing a checkpoint takes as long as many steps.
SECONDS_BETWEEN = 20.0
# Adam's state of each weight; its step stays on the host.
STATE = ("step", "exp_avg", "exp_avg_sq")


def _checksum(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """Return a checksum of a checkpoint's content, because safetensors does not detect changed numbers."""
    digest = hashlib.sha256(json.dumps(sorted(about.items())).encode())
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


class Checkpoint:
    """Weights, optimizer state and log of an unfinished training, in a file named by everything it depends on."""

    def __init__(self, folder: Path, identity: list[Any]) -> None:
        self.path = folder / f"{fingerprint([code_digest('train'), *identity])}.safetensors"
        self.saved = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is old enough for another one."""
        return time.monotonic() - self.saved >= SECONDS_BETWEEN

    def save(
        self, step: int, weights: dict[str, Tensor], optimizer: torch.optim.Adam, log: list[dict[str, Any]]
    ) -> None:
        """Replace the last checkpoint by the state of this step."""
        tensors = {}
        for name, weight in weights.items():
            state = optimizer.state[weight]
            tensors[name] = weight.detach().cpu()
            for key in STATE:
                tensors[f"{name}.{key}"] = state[key].detach().cpu()
        with replacing(self.path) as temporary:
            about = {"step": str(step), "log": json.dumps(log)}
            save_file(tensors, temporary, {**about, "checksum": _checksum(tensors, about)})
        self.saved = time.monotonic()

    def load(self, weights: dict[str, Tensor], optimizer: torch.optim.Adam) -> tuple[int, list[dict[str, Any]]]:
        """Restore weights and optimizer from the last checkpoint and return its step and log; 0 and [] without one."""
        if not self.path.exists():
            return 0, []
        try:
            return self._read(weights, optimizer)
        except (LMSteerError, KeyError, ValueError) as error:
            say(f"the checkpoint {self.path} is damaged ({error}): restarting the training")
            self.path.unlink()
            return 0, []

    def _read(self, weights: dict[str, Tensor], optimizer: torch.optim.Adam) -> tuple[int, list[dict[str, Any]]]:
        tensors, about = read_tensors(self.path)
        if about.pop("checksum") != _checksum(tensors, about):
            raise LMSteerError("its checksum does not match")
        for name, weight in weights.items():
            weight.data.copy_(tensors[name])
            state = {key: tensors[f"{name}.{key}"] for key in STATE}
            optimizer.state[weight] = {**state, **{key: state[key].to(weight.device) for key in STATE[1:]}}
        return int(about["step"]), json.loads(about["log"])
