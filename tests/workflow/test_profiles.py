"""Profiles: every key and rule of theirs exists, and what does not fit is found before any job."""

import re

import pytest
import yaml
from running import ROOT

PROFILES = sorted(ROOT.glob("workflow/profiles/*/profile.yaml"))


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.parent.name)
def test_every_key_and_rule_of_a_profile_exists(path, project, snakemake):
    profile = yaml.safe_load(path.read_text(encoding="utf-8"))
    options = set(re.findall(r"--([a-z][a-z-]+)", snakemake("--help").stdout))
    rules = set(snakemake("--list-rules").stdout.split())
    assert set(profile) <= options
    for key in ("set-resources", "set-threads", "groups"):
        assert set(profile.get(key, {})) <= rules


def test_rules_with_a_gpu_have_a_partition_of_their_own():
    profile = yaml.safe_load((ROOT / "workflow/profiles/slurm/profile.yaml").read_text(encoding="utf-8"))
    rules = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("workflow/rules/*.smk"))
    parts = re.split(r"^(?:use rule (\w+) as|rule) (\w+)(?: with)?:$", rules, flags=re.MULTILINE)[1:]
    named = list(zip(parts[::3], parts[1::3], parts[2::3], strict=True))
    with_gpu = {name for _, name, body in named if re.search(r"^\s+gpu=", body, re.M)}
    # A rule that is made of another one has its resources.
    with_gpu |= {name for base, name, _ in named if base in with_gpu}
    assert "train" in with_gpu and "score" not in with_gpu
    assert {name for name, block in profile["set-resources"].items() if "slurm_partition" in block} == with_gpu


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        (
            "retries: 1",
            "set-thread:\n  train: 2",
            "set-thread:",
            "Snakemake has no option 'set-thread' (did you mean 'set-threads'?)",
        ),
        (
            "retries: 1",
            "set-threads:\n  trian: 2",
            "  trian: 2",
            "set-threads: 'trian' is not a rule (did you mean 'train'?)",
        ),
        ("# resources:\n#   gpu: 2", "resources:\n  gpu: 64", "  gpu: 64", "64 GPUs requested, this machine has"),
    ],
)
def test_what_does_not_fit_is_found_before_any_job_with_its_line(project, snakemake, old, new, place, message):
    path = project / "workflow/profiles/local/profile.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    result = snakemake("--workflow-profile", "workflow/profiles/local", succeeds=False)
    number = path.read_text(encoding="utf-8").splitlines().index(place) + 1
    assert f"workflow/profiles/local/profile.yaml, line {number}: {message}" in result.stdout
    assert "Traceback" not in result.stdout
    assert not (project / "results").exists()


def test_a_misspelt_option_is_named_by_snakemake(project, snakemake):
    path = project / "workflow/profiles/local/profile.yaml"
    path.write_text("retrys: 1\n", encoding="utf-8")
    assert "unrecognized arguments: --retrys=1" in snakemake("--workflow-profile", str(path), succeeds=False).stdout


def test_two_devices_share_the_cores(project, snakemake, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    planned = snakemake("-n", "--resources", "gpu=2", "--cores", "4").stdout
    assert "threads: 2" in planned and "threads: 4" not in planned
    alone = snakemake("-n", "--cores", "4").stdout
    assert "threads: 4" in alone
