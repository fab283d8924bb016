"""One set of versions, however it is installed."""

import importlib.metadata
import re
import runpy

import yaml
from packaging.requirements import Requirement
from running import ROOT

CONDA = runpy.run_path(str(ROOT / "workflow/scripts/conda_file.py"))


def test_the_conda_file_is_written_from_the_lock():
    text = (ROOT / "envs/environment.yaml").read_text(encoding="utf-8")
    assert text == CONDA["document"](), "run `make lock`"
    pins = [Requirement(pin) for pin in yaml.safe_load(text)["dependencies"][-1]["pip"]]
    assert pins[0].name == "torch" and len({pin.name for pin in pins}) > 100
    assert all(str(pin.specifier).startswith("==") for pin in pins)


def test_this_environment_has_the_versions_of_the_lock():
    for pin in map(Requirement, CONDA["pins"]("requirements.lock")):
        if pin.marker is None or pin.marker.evaluate():
            assert importlib.metadata.version(pin.name).split("+")[0] in pin.specifier, pin


def test_the_image_is_built_by_the_steps_of_the_readme():
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    steps = re.findall(r"^RUN (?!apt-get)(.+)$", dockerfile, re.MULTILINE)
    assert steps == ["make setup"]
    assert re.search(r"^setup:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    # Everything that `make setup` reads is copied before it.
    before = " ".join(re.findall(r"^COPY (.+)$", dockerfile.split("RUN make setup")[0], re.MULTILINE)).split()
    for name in ("Makefile", "pyproject.toml", "envs", "lm_steer", "README.md", "LICENSE"):
        assert name in before and (ROOT / name).exists()
    # The same Python as the lock is made for, and what Snakemake calls is on the PATH.
    assert "python:3.11" in dockerfile and "/lm-steer/.venv/bin:" in dockerfile
