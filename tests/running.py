"""Running the workflow as a user does, in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


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


def run_study(folder: Path, *configs: Path) -> str:
    """Run a study of the project's own workflow in `folder`; return what was printed, or fail with its end."""
    files = [str(path) for path in configs]
    run = run_snakemake(folder, "--cores", "all", "--snakefile", str(ROOT / "Snakefile"), "--configfile", *files)
    assert run.returncode == 0, run.stdout[-5000:]
    return run.stdout
