import os
import pkgutil
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

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


def test_the_wheel_holds_all_modules_and_all_files_they_read(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {str(path.relative_to(ROOT)) for path in DATA} <= names
    assert {f"{module.replace('.', '/')}.py" for module in MODULES} <= {
        name.replace("/__init__.py", ".py") for name in names
    }


# What `pip install lm-steer` does without, and fcntl, which Windows lacks; jinja2 comes with torch,
# PyYAML with transformers, rich with typer.
OPTIONAL = """
    accelerate fcntl gguf googleapiclient gradio httplib2 jsonschema kaggle lm_eval matplotlib peft profanity_check
    psutil requests scipy six sklearn snakemake socks tenacity
"""
# They are made of what an optional library has, or serve the workflow alone.
OF_EXTRAS = re.compile(
    r"lm_steer\.(interop\.(lm_eval|vllm(_batch)?)|generation\.triton_kernels|score\.commentanalyzer|util\.run_lock"
    r"|report\..+)"
)


def test_the_wheel_installs_and_runs_without_any_extra(wheel, tmp_path):
    site = tmp_path / "site"
    install = ["pip", "install", "--no-deps", "--no-index", "--quiet", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, "-m", *install], check=True, capture_output=True)
    (tmp_path / "elsewhere").mkdir()

    def run(script: str) -> subprocess.CompletedProcess:
        hidden = f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL.split()}))"
        command = [sys.executable, "-c", f"{hidden}; {script}"]
        environment = os.environ | {"PYTHONPATH": str(site)}
        return subprocess.run(command, cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True)

    modules = [name for name in MODULES if not OF_EXTRAS.fullmatch(name)]
    done = run(f"import {', '.join(modules)}; print(lm_steer.__file__)")
    assert done.stdout.strip() == str(site / "lm_steer/__init__.py"), done.stderr
    done = run("from lm_steer.cli import main; sys.argv = ['lm-steer', 'demo']; main()")
    assert done.stderr == "error: gradio is not installed: pip install 'lm-steer[demo]'\n"
    assert "Usage: lm-steer" in run("from lm_steer.cli import main; sys.argv = ['lm-steer', '--help']; main()").stdout


def test_what_needs_an_extra_is_in_one():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        name for path in (ROOT / "lm_steer").rglob("*.py") for name in re.findall(r'needs\("(.+?)"\)', path.read_text())
    }
    assert named and named <= set(extras)
