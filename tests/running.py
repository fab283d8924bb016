"""Running the workflow as a user does, in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def places(folder: Path, commands: Path | None = None, package: Path | None = None) -> dict[str, str]:
    """Return the variables by which a run in `folder` uses the copy of the package there, and a cache beside it.

    package     where the package is otherwise
    commands    a folder with `lm-steer` and `snakemake` that start at once (services/forked.py)
    """
    path = [str(place) for place in (commands, Path(sys.executable).parent) if place]
    return {
        "PATH": os.pathsep.join([*path, os.environ["PATH"]]),
        "PYTHONPATH": str(package or folder),
        "XDG_CACHE_HOME": str(folder / ".xdg"),
    }


def run_snakemake(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run snakemake in `folder` with the commands of this environment; what it prints is captured."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["snakemake", *arguments],
        cwd=folder,
        env=os.environ | {"PATH": path} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_study(folder: Path, *arguments: str | Path, **environment: str) -> str:
    """Run a study of the project's own workflow in `folder`; return what was printed, or fail with its end."""
    given = [str(argument) for argument in arguments]
    run = run_snakemake(folder, "--cores", "all", "--snakefile", str(ROOT / "Snakefile"), *given, **environment)
    assert run.returncode == 0, run.stdout[-5000:]
    return run.stdout
