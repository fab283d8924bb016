"""The fixtures of the workflow's tests."""

import subprocess
from collections.abc import Callable

import pytest
from miniature import study_of
from running import places, run_snakemake

from lm_steer.study.config import resolved
from lm_steer.util.errors import LMSteerError


@pytest.fixture
def snakemake(tmp_path, commands) -> Callable[..., subprocess.CompletedProcess]:
    """Return a function that runs snakemake in the test's project and hands back what it printed."""
    folder = tmp_path / "project"

    def run(*arguments: str, succeeds: bool = True, cores: bool = True) -> subprocess.CompletedProcess:
        variables = places(folder, commands)
        result = run_snakemake(folder, *(["--cores", "2"] if cores else []), *arguments, **variables)
        assert (result.returncode == 0) == succeeds, result.stdout
        return result

    return run


@pytest.fixture
def refusal() -> Callable[..., str]:
    """Return a function (keys to change, files of `.test/config` to add) → what is said of the study with them."""

    def refused(keys: dict, *overlays: str) -> str:
        with pytest.raises(LMSteerError) as error:
            resolved(study_of(keys, *overlays))
        return str(error.value)

    return refused
