"""CUDA rehearsed on a processor: torch's fake tensors run no kernel, but know device, shape and dtype of each.

    with fake_cuda() as log:                    # log.kernels, log.bytes, log.waits, log.mismatches
        model = on_fake_cuda(config)

A wait is where the host stands still until the device is done: a number that is read, a copy that is not pinned.
"""

import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CDLL
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from traceback import extract_stack
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

# A device guard for "cuda" that does nothing, so that fake tensors can be indexed without one.
GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
static c10::impl::DeviceGuardImplRegistrar registrar(
    c10::DeviceType::CUDA, new c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA>());
"""
# What runs no kernel of its own.
VIEWS = {
    *("view", "_unsafe_view", "expand", "slice", "select", "unsqueeze", "squeeze", "permute", "transpose", "t"),
    *("detach", "alias", "split", "split_with_sizes", "unbind", "as_strided", "reshape", "_reshape_alias", "diagonal"),
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_local_scalar_dense", "lift_fresh"),
    *("device", "scalar_tensor", "set_", "resize_", "unflatten", "is_contiguous", "sym_size", "sym_numel"),
}
READS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "bincount", "equal", "is_nonzero"}


@cache
def guard() -> CDLL:
    """Compile and load the guard."""
    folder = Path(mkdtemp())
    (folder / "guard.cpp").write_text(GUARD)
    root = torch.__path__[0]
    libraries = [f"-L{root}/lib", f"-Wl,-rpath,{root}/lib", "-lc10"]
    options = ["-shared", "-fPIC", "-std=c++17", f"-I{root}/include", "guard.cpp", *libraries]
    subprocess.run(["g++", *options, "-o", "guard.so"], cwd=folder, check=True)
    return CDLL(str(folder / "guard.so"))


def tensors_in(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def place() -> str:
    """Return the innermost line of the package or of transformers that is being run."""
    frames = [f for f in extract_stack() if "/lm_steer/" in f.filename or "/transformers/" in f.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"


class Log(TorchDispatchMode):
    """Counts what a GPU would do."""

    def __init__(self) -> None:
        super().__init__()
        self.clear()

    def clear(self) -> None:
        self.kernels, self.bytes, self.waits, self.mismatches = 0, 0, Counter(), Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func._schema.name.split("::")[1]
        given, made = list(tensors_in([args, kwargs])), list(tensors_in(out))
        devices = {tensor.device.type for tensor in given + made}
        if "cuda" not in devices:
            return out
        copied = name in ("_to_copy", "copy_") and devices == {"cuda", "cpu"}
        if copied and made[0].numel() and not (kwargs.get("non_blocking") or args[2:3] == (True,)):
            self.waits[f"{name} at {place()}"] += 1
        if name in READS or (name == "repeat_interleave" and func._overloadname == "Tensor"):
            self.waits[f"{name} at {place()}"] += 1
        if name in ("index", "index_put_", "index_put"):
            for index in tensors_in(args[1]):
                self.waits["boolean index"] += index.dtype == torch.bool
                self.mismatches[name] += index.dim() > 0 and index.device != given[0].device
        if name not in VIEWS and not copied:
            self.kernels += 1
            self.bytes += sum(tensor.nbytes for tensor in {id(part): part for part in given + made}.values())
        return out


@contextmanager
def fake_cuda() -> Iterator[Log]:
    """Run all inside on fake tensors; what only a driver could answer is answered for an empty GPU of 80 GB."""
    guard()
    log = Log()

    def number(self: Tensor, plain=Tensor.item):
        if isinstance(self, FakeTensor):
            log.waits["item"] += self.is_cuda
            return 1.0 if self.is_floating_point() else 0
        return plain(self)

    def zeros(shape):
        return [zeros(shape[1:]) for _ in range(shape[0])] if shape else 0

    def listed(self: Tensor, plain=Tensor.tolist):
        if isinstance(self, FakeTensor):
            log.waits["tolist"] += self.is_cuda
            return zeros(self.shape)
        return plain(self)

    def truth(self: Tensor, plain=Tensor.__bool__):
        if isinstance(self, FakeTensor):
            log.waits["bool"] += self.is_cuda
            return True
        return plain(self)

    shapes = ShapeEnv(allow_scalar_outputs=True, allow_dynamic_output_shape_ops=True)
    with (
        mock.patch.object(Tensor, "item", number),
        mock.patch.object(Tensor, "tolist", listed),
        mock.patch.object(Tensor, "__bool__", truth),
        mock.patch.object(Tensor, "pin_memory", lambda self: self),
        mock.patch.object(torch.cuda, "mem_get_info", lambda *_: (78_000_000_000, 80_000_000_000)),
        mock.patch.object(torch.cuda, "memory_reserved", lambda *_: 0),
        mock.patch.object(torch.cuda, "memory_allocated", lambda *_: 0),
        FakeTensorMode(allow_non_fake_inputs=True, shape_env=shapes),
        log,
    ):
        yield log


def on_fake_cuda(config: PretrainedConfig, dtype: torch.dtype = torch.bfloat16) -> PreTrainedModel:
    """Build a model whose weights are fake and on the GPU; called inside `fake_cuda`."""
    with torch.device("cuda:0"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model.requires_grad_(False).eval()
