import os
import pkgutil
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tiny
import torch

import lm_steer


def test_the_first_lines_of_the_package_work(tmp_path, ids):
    model = tiny.make_model("gpt2")
    tiny.make_steer(model).save_pretrained(tmp_path)
    before = tiny.logits_of(model, ids)
    steer = lm_steer.Steer.from_pretrained(tmp_path)
    with steer.attach(model).at(style=5):
        assert not torch.allclose(tiny.logits_of(model, ids), before)
    assert torch.equal(tiny.logits_of(model, ids), before)


ROOT = Path(__file__).parents[1]
# Everything that is not Python, and the packages' own names, as they lie in the source tree.
DATA = [path for path in (ROOT / "lm_steer").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
MODULES = [module.name for module in pkgutil.walk_packages([str(ROOT / "lm_steer")], "lm_steer.")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy, so that the source tree stays clean."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "lm_steer", source / "lm_steer", ignore=shutil.ignore_patterns("__pycache__"))
    command = ["pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(out), str(source)]
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_all_modules_and_all_files_they_read(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {str(path.relative_to(ROOT)) for path in DATA} <= names
    assert {f"{module.replace('.', '/')}.py" for module in MODULES} <= {
        name.replace("/__init__.py", ".py") for name in names
    }


def test_the_wheel_asks_for_no_snakemake(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith("METADATA"))
    needs = [line for line in archive.read(metadata).decode().splitlines() if line.startswith("Requires-Dist")]
    assert any("torch" in line for line in needs)
    assert all("extra ==" in line for line in needs if "snakemake" in line or "gradio" in line or "peft" in line)


def test_the_wheel_installs_and_runs_where_there_is_no_snakemake(wheel, tmp_path):
    site = tmp_path / "site"
    install = ["pip", "install", "--no-deps", "--no-index", "--quiet", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, "-m", *install], check=True, capture_output=True)
    (tmp_path / "elsewhere").mkdir()
    environment = os.environ | {"PYTHONPATH": str(site)}
    # The harness's model is one of its classes; all others do with what the wheel asks for.
    modules = [name for name in MODULES if name != "lm_steer.interop.lm_eval"]
    hidden = "import sys; sys.modules.update(dict.fromkeys(('snakemake', 'gradio', 'peft', 'lm_eval')))"
    script = f"{hidden}; import {', '.join(modules)}; print(lm_steer.__file__)"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True
    )
    assert run.stdout.strip() == str(site / "lm_steer/__init__.py"), run.stderr
    run = subprocess.run(
        [site / "bin/lm-steer", "--help"], cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0 and "Usage: lm-steer" in run.stdout
