"""A real SLURM with two fake GPUs, and the study in miniature on it, two generations at a time."""

import shutil
from collections.abc import Callable, Iterator

import pytest
from clustered import Study
from running import places, run_snakemake
from services.slurm import Slurm, why_not


@pytest.fixture(scope="session")
def slurm(tmp_path_factory) -> Iterator[Slurm]:
    if why_not():
        pytest.skip(f"no SLURM to test with: {why_not()}")
    with Slurm(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def study(project, slurm, request) -> Iterator[Study]:
    """The study, whose commands start at once; in the soak as they are, so that SLURM sees what they use."""
    soak = request.node.get_closest_marker("soak")
    study = Study(project, None if soak else request.getfixturevalue("commands"))
    yield study
    study.end()
    slurm.cancel_all()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, whole, untouched, commands) -> Callable[..., dict[str, bytes]]:
    """Return a function: the tables of a run on this machine that nothing happened to, for a study's arguments."""

    def tables(*arguments: str) -> dict[str, bytes]:
        if not arguments:
            return Study(whole).tables()
        project = shutil.copytree(untouched, tmp_path_factory.mktemp("undisturbed") / "project")
        run = run_snakemake(project, "tables", "--cores", "2", *arguments, **places(project, commands))
        assert run.returncode == 0, run.stdout[-5000:]
        return Study(project).tables()

    return tables
