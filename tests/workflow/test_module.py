"""The workflow as a module in a folder that holds no more than a config: what `snakedeploy deploy-workflow` writes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from miniature import STUDY, make_model_folder
from running import ROOT, run_snakemake

# snakedeploy 0.17, templates/use_module.smk.jinja, but for the address.
MODULE = f"""
from snakemake.utils import min_version


min_version("6.10.0")


configfile: "config/config.yaml"


module lm_steer:
    snakefile:
        "{ROOT}/workflow/Snakefile"
    config:
        config


use rule * from lm_steer"""


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Where environment.post-deploy.sh has installed the package, with a folder of wheels in the registry's place."""
    site, elsewhere = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("elsewhere")
    variables = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent), "PIP_TARGET": str(site)}
    script = ["bash", str(ROOT / "envs/environment.post-deploy.sh")]
    done = subprocess.run(script, cwd=elsewhere, env=os.environ | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return site


@pytest.fixture
def deploy(tmp_path, installed):
    """Return a function (config, how rules are named) → a function that runs snakemake in a folder with that config."""

    def deployed(config: Path, names: str = ""):
        folder = tmp_path / "mine"
        (folder / "workflow").mkdir(parents=True)
        (folder / "workflow/Snakefile").write_text(MODULE + names + "\n", encoding="utf-8")
        (folder / "config").mkdir()
        shutil.copy(config, folder / "config/config.yaml")

        def run(*arguments: str, succeeds: bool = True, **environment: str) -> str:
            variables = {"PYTHONPATH": str(installed)} | environment
            done = run_snakemake(folder, "--cores", "2", *arguments, **variables)
            assert (done.returncode == 0) == succeeds, done.stdout[-3000:]
            return done.stdout

        return folder, run

    return deployed


def test_the_embedded_study_is_planned(deploy):
    _, run = deploy(ROOT / "config/config.yaml")
    assert "score_by_model" in run("--dry-run", "--quiet", "rules")


def test_rules_under_names_of_ones_own_run_and_write_the_study_down(deploy):
    folder, run = deploy(STUDY / "config/config.yaml", " as mine_*")
    shutil.copy(STUDY / "texts.jsonl", folder)
    assert "mine_dataset" in run("results/prompts/few.jsonl")
    assert (folder / "results/prompts/few.jsonl").exists() and (folder / "results/study.json").exists()


@pytest.mark.soak
def test_a_whole_study_runs_under_names_of_its_own(deploy):
    folder, run = deploy(STUDY / "config/config.yaml", " as mine_*")
    shutil.copy(STUDY / "texts.jsonl", folder)
    make_model_folder(folder / "model")
    run()
    assert (folder / "reports/index.html").exists()
    assert "Nothing to be done" in run()


def test_without_the_package_a_sentence_says_what_to_install(deploy, tmp_path):
    (tmp_path / "hidden/lm_steer").mkdir(parents=True)
    (tmp_path / "hidden/lm_steer/__init__.py").write_text("raise ModuleNotFoundError(name='lm_steer')\n")
    _, run = deploy(ROOT / "config/config.yaml")
    output = run("--dry-run", succeeds=False, PYTHONPATH=str(tmp_path / "hidden"))
    assert "lm_steer is not installed beside Snakemake: pip install 'lm-steer[workflow]'" in output
    assert "Traceback" not in output
