import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Tests run beside each other, and so do the commands that they start: each computes in one thread. Read at imports.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import tiny
import torch
from miniature import make_project
from running import ROOT, places, run_snakemake
from services.forked import forked_commands
from services.hub import Hub
from services.registry import Registry

from lm_steer.fetch import packages
from lm_steer.fetch.packages import Package
from lm_steer.model.load import LoadedModel, load_model
from lm_steer.model.obtain import obtain

torch.set_num_threads(1)
# A test run is as long as its longest worker: what takes minutes begins first.
LONG = ("cluster", "workflow", "faults")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not {*LONG} & {*item.path.parts})


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Return a function (name, what fills a folder) → the folder, filled once for all workers of a test run."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder(name: str, fill: Callable[[Path], object]) -> Path:
        filled, part = base / name, base / f"{name}.part"
        with open(base / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not filled.exists():
                shutil.rmtree(part, ignore_errors=True)
                fill(part)
                part.rename(filled)
        return filled

    return folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy, so that the source tree stays clean."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "lm_steer", source / "lm_steer", ignore=shutil.ignore_patterns("__pycache__"))
    command = ["pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(out), str(source)]
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="session")
def commands(tmp_path_factory) -> Iterator[Path]:
    """A folder with `lm-steer` and `snakemake` that start at once."""
    with forked_commands(tmp_path_factory.mktemp("commands")) as folder:
        yield folder


@pytest.fixture(scope="session")
def untouched(shared) -> Path:
    """The study in miniature, of which nothing has run."""
    return shared("untouched", make_project)


@pytest.fixture(scope="session")
def whole(shared, untouched, commands) -> Path:
    """The study in miniature, run to its end."""

    def run(folder: Path) -> None:
        shutil.copytree(untouched, folder)
        run = run_snakemake(folder, "--cores", "2", **places(folder, commands))
        assert run.returncode == 0, run.stdout

    return shared("whole", run)


@pytest.fixture
def project(tmp_path, untouched) -> Path:
    """A copy of the study in miniature."""
    return shutil.copytree(untouched, tmp_path / "project")


@pytest.fixture
def finished(tmp_path, whole) -> Path:
    """A copy of the study in miniature that has been run to its end, with the times of its files."""
    return shutil.copytree(whole, tmp_path / "project")


@pytest.fixture(scope="session")
def make_loaded(tmp_path_factory) -> Callable[..., LoadedModel]:
    """Return a function (name of a tiny model, dtype) → that model, frozen and loaded from disk as any other is."""
    folders: dict[str, Path] = {}

    def make(name: str, dtype: str = "float32") -> LoadedModel:
        if name not in folders:
            origin, folder = tmp_path_factory.mktemp("origin"), tmp_path_factory.mktemp("models") / name
            tiny.make_model(name).save_pretrained(origin)
            tiny.make_tokenizer().save_pretrained(origin)
            obtain("folder", str(origin), folder)
            folders[name] = folder
        return load_model(folders[name], dtype, device="cpu")

    return make


@pytest.fixture
def loaded(make_loaded) -> LoadedModel:
    return make_loaded("llama-padded-vocabulary")


@pytest.fixture
def ids() -> torch.Tensor:
    """Token ids, (3 rows, 7 positions)."""
    return torch.randint(2, tiny.VOCABULARY, (3, 7), generator=torch.Generator().manual_seed(3))


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Iterator[Registry]:
    """An empty registry that the package is pointed at, with a fresh folder for downloads."""
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("LM_STEER_DOWNLOADS", str(tmp_path / "downloads"))
    monkeypatch.setenv("LM_STEER_RETRY_SECONDS", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Registry(folder) as server:
        monkeypatch.setenv("PIP_INDEX_URL", server.url)
        yield server


@pytest.fixture
def publish(registry, monkeypatch) -> Callable[[str, str, bytes], Path]:
    """Return a function (name, file, content) that puts a package into `packages()` and on the registry."""

    def put(name: str, file: str, content: bytes) -> Path:
        path = registry.folder / name / file
        path.parent.mkdir()
        path.write_bytes(content)
        package = Package(name, file, hashlib.sha256(content).hexdigest(), "MIT")
        monkeypatch.setitem(packages.packages(), name, package)
        return path

    return put


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[Hub]:
    """An empty hub that the client is pointed at, with a cache of its own."""
    from huggingface_hub import constants

    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # The client asks a hub that fails again and again for half a minute.
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with Hub(folder) as server:
        # What HF_ENDPOINT and HF_HUB_CACHE set, which the client reads at its import alone.
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield server
