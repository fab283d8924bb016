"""A real SLURM with two fake GPUs, and the study in miniature on it, two generations at a time."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clustered import STUDY, Study
from miniature import make_model_folder, make_project
from running import run_snakemake
from services.slurm import Slurm, why_not


@pytest.fixture(scope="session")
def slurm(tmp_path_factory) -> Iterator[Slurm]:
    if why_not():
        pytest.skip(f"no SLURM to test with: {why_not()}")
    with Slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def study(tmp_path, model_folder, slurm) -> Iterator[Study]:
    study = Study(make_project(tmp_path, model_folder))
    yield study
    study.end()
    slurm.cancel_all()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, model_folder) -> Callable[..., dict[str, bytes]]:
    """Return a function: the tables of a run on this machine that nothing happened to, for a study's arguments."""
    made: dict[tuple[str, ...], dict[str, bytes]] = {}

    def tables(*arguments: str) -> dict[str, bytes]:
        if arguments not in made:
            project = make_project(tmp_path_factory.mktemp("undisturbed"), model_folder)
            places = {"PYTHONPATH": str(project), "XDG_CACHE_HOME": str(project / ".xdg")}
            run = run_snakemake(project, "tables", "--cores", "2", *(arguments or STUDY), **places)
            assert run.returncode == 0, run.stdout[-5000:]
            made[arguments] = Study(project).tables()
        return made[arguments]

    return tables
