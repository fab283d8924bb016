"""The fixtures of the workflow's tests."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from miniature import make_model_folder, make_project
from running import run_snakemake


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def project(tmp_path, model_folder) -> Path:
    return make_project(tmp_path, model_folder)


Snakemake = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def snakemake(project) -> Snakemake:
    """Return a function that runs snakemake in the project and hands back what it printed."""

    def run(*arguments: str, succeeds: bool = True) -> subprocess.CompletedProcess:
        places = {"PYTHONPATH": str(project), "XDG_CACHE_HOME": str(project / ".xdg")}
        result = run_snakemake(project, "--cores", "2", *arguments, **places)
        assert (result.returncode == 0) == succeeds, result.stdout
        return result

    return run
