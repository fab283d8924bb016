"""One set of versions, however it is installed."""

import importlib.metadata
import re
import runpy
import shutil
import subprocess
import tomllib

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


def test_the_image_is_built_by_the_steps_of_the_readme(tmp_path):
    """All that `make setup` reads is copied before it; no docker is needed to see what it would do there."""
    before, step, _ = (ROOT / "Dockerfile").read_text(encoding="utf-8").partition("RUN make setup\n")
    assert step
    for name in " ".join(re.findall(r"^COPY (.+) \S+$", before, re.MULTILINE)).split():
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    planned = subprocess.run(["make", "--dry-run", "setup"], cwd=tmp_path, capture_output=True, text=True)
    assert planned.returncode == 0 and "--editable ." in planned.stdout, planned.stderr
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in (project["readme"], *project["license-files"], "lm_steer/__init__.py"):
        assert (tmp_path / name).exists()


def test_a_run_without_a_clone_installs_the_version_of_the_workflow():
    script = (ROOT / "envs/environment.post-deploy.sh").read_text(encoding="utf-8")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"lm-steer=={version}\n" in script
