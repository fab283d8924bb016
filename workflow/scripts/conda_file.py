"""Write envs/environment.yaml from the study's lock file, so that conda and pip install the same versions.

python workflow/scripts/conda_file.py          # `make lock`
"""

from pathlib import Path

ENVS = Path(__file__).parents[2] / "envs"

HEAD = """\
# The versions of study.lock and torch.txt for conda: written from them by `make lock`, a test keeps them equal.
#   conda env create --file envs/environment.yaml && conda activate lm-steer
#   pip install --no-deps --no-build-isolation --editable .
# `snakemake --sdm conda` creates it automatically, and runs environment.post-deploy.sh for the second line.
name: lm-steer
channels:
  - conda-forge
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def pins(lock: str = "study.lock") -> list[str]:
    """Return the requirements of a lock file, torch first: `name==version`, with a marker if versions differ."""
    lines = [(ENVS / name).read_text(encoding="utf-8").splitlines() for name in ("torch.txt", lock)]
    return [line.rstrip(" \\") for part in lines for line in part if line[:1].isalnum()]


def document() -> str:
    """Return the content of the file."""
    return HEAD + "".join(f'      - "{pin}"\n' for pin in pins())


if __name__ == "__main__":
    (ENVS / "environment.yaml").write_text(document(), encoding="utf-8")
