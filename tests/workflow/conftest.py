"""The fixtures of the workflow's tests."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from miniature import make_model_folder, make_project
from running import run_snakemake
from services.forked import forked_commands

from lm_steer.study.config import resolved
from lm_steer.util.errors import LMSteerError


@pytest.fixture(scope="session")
def commands(tmp_path_factory) -> Iterator[Path]:
    """A folder with `lm-steer` and `snakemake` that start at once."""
    with forked_commands(tmp_path_factory.mktemp("commands")) as folder:
        yield folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def project(tmp_path, model_folder) -> Path:
    """The study in miniature, of which nothing has run."""
    return make_project(tmp_path / "project", model_folder)


Snakemake = Callable[..., subprocess.CompletedProcess]


def run_in(project: Path, commands: Path) -> Snakemake:
    def run(*arguments: str, succeeds: bool = True, cores: bool = True) -> subprocess.CompletedProcess:
        places = {
            "PATH": os.pathsep.join([str(commands), os.environ["PATH"]]),
            "PYTHONPATH": str(project),
            "XDG_CACHE_HOME": str(project / ".xdg"),
        }
        result = run_snakemake(project, *(["--cores", "2"] if cores else []), *arguments, **places)
        assert (result.returncode == 0) == succeeds, result.stdout
        return result

    return run


@pytest.fixture
def snakemake(project, commands) -> Snakemake:
    """Return a function that runs snakemake in the project and hands back what it printed."""
    return run_in(project, commands)


@pytest.fixture(scope="session")
def whole(tmp_path_factory, model_folder, commands) -> Path:
    """The study in miniature, run to its end once for all tests."""
    project = make_project(tmp_path_factory.mktemp("whole") / "project", model_folder)
    run_in(project, commands)()
    return project


@pytest.fixture
def finished(project, whole) -> Path:
    """The project, finished: a copy of the whole run, with the times of its files."""
    shutil.rmtree(project)
    return shutil.copytree(whole, project)


@pytest.fixture
def refusal(project) -> Callable[[dict], str]:
    """Return a function (keys to change) → what is said of the project's study with them, before any job."""

    def merged(block: dict, keys: dict) -> dict:
        both = {key: merged(block[key], keys[key]) for key in block.keys() & keys.keys() if isinstance(keys[key], dict)}
        return block | keys | both

    def refused(keys: dict) -> str:
        study = yaml.safe_load((project / "config/config.yaml").read_text(encoding="utf-8"))
        with pytest.raises(LMSteerError) as error:
            resolved(merged(study, keys))
        return str(error.value)

    return refused
