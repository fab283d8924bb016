"""The study on a real SLURM, and what happens to jobs and controllers there: it ends, with the same bytes."""

import contextlib
import os
import re
import signal
from datetime import datetime
from itertools import pairwise

import pytest
import yaml
from clustered import STUDY, until
from running import run_snakemake


def times_on_devices(study, slurm) -> dict[str, list[tuple[datetime, datetime]]]:
    """When each fake GPU was busy, by the job log of SLURM; the steps' logs say which device a job had."""
    finished = {job["JobId"]: job for job in slurm.history()}
    times: dict[str, list[tuple[datetime, datetime]]] = {}
    for path in study.folder.glob("results/logs/*/*.log"):
        for device, number in re.findall(r"^device (\d+) of .*, SLURM job (\d+)$", path.read_text(), re.MULTILINE):
            job = finished[number]
            span = (datetime.fromisoformat(job["StartTime"]), datetime.fromisoformat(job["EndTime"]))
            times.setdefault(device, []).append(span)
    return times


def running_of(study, slurm, rule: str) -> list[str]:
    """The jobs of a rule that run now, by their comment."""
    lines = slurm.ask("squeue", "-h", "-t", "R", "-o", "%A|%k").splitlines()
    return [line.split("|")[0] for line in lines if line.split("|")[1].startswith(f"rule_{rule}")]


def hang(study, slurm, rule: str) -> str:
    """Stop the processes of a job of a rule where they are, as a dead file system does; return the job, which stays."""

    def stopped() -> str:
        for job in running_of(study, slurm, rule):
            lines = slurm.ask("scontrol", "listpids", job).splitlines()[1:]
            processes = [process for line in lines if (process := int(line.split()[0])) > 0]
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGSTOP)
            if processes and job in running_of(study, slurm, rule):
                return job
        return ""

    return until(stopped)


def test_an_array_and_a_group_use_both_gpus_one_job_each_after_a_controller_was_killed(study, slurm, undisturbed):
    array = ["--slurm-array-jobs", "generate", *STUDY]
    controller = study.start(*array)
    killed = hang(study, slurm, "train")
    controller.send_signal(signal.SIGKILL)
    controller.wait()
    assert killed in slurm.jobs(), "its jobs go on without it"
    study.finish(*array)
    assert "An earlier run was killed here" in study.printed and "cancelled" in study.printed
    assert study.tables() == undisturbed()
    times = times_on_devices(study, slurm)
    assert set(times) == {"0", "1"} and sum(map(len, times.values())) == 5
    for spans in times.values():
        spans.sort()
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    jobs = [job for job in slurm.history() if job["WorkDir"] == str(study.folder) and job["JobState"] == "COMPLETED"]
    # Only work that wants a GPU is on the partition that has them: training, generation, perplexity.
    assert sorted(job["Partition"] for job in jobs) == ["cpu", *["gpu"] * 5]
    assert "array job" in study.printed and "group job judging" in study.printed.lower()


WRONG = {
    "  slurm_partition: cpus": ("  slurm_partition: cpu", "there is no partition 'cpus'"),
    "  generate: {slurm_partition: gpu, gpu: 3}": ("  generate: *gpu", "generate asks for 3 GPUs"),
    "  lora: {slurm_partition: gpu, gpu: 0, gres: 'gpu:5'}": ("  lora: *gpu", "lora asks for 5 GPUs"),
    "  cost: {slurm_partition: gpu, gpu_model: h100}": ("  cost: *gpu", "cost asks for 1 GPU h100"),
}


def test_what_the_cluster_has_not_is_found_before_any_job_with_its_line(study, slurm):
    path = study.folder / "workflow/profiles/slurm/profile.yaml"
    analyses = ["--configfile", "config/config.yaml", "config/analyses.yaml"]
    lines = path.read_text(encoding="utf-8").splitlines()
    for line, (before, _) in WRONG.items():
        lines[lines.index(before)] = line
    path.write_text("\n".join(lines), encoding="utf-8")
    run = run_snakemake(study.folder, "-n", "--workflow-profile", path.parent, *analyses, **study.places)
    assert run.returncode == 1
    for line, (_, message) in WRONG.items():
        assert f"profile.yaml, line {lines.index(line) + 1}: {message}" in run.stdout
    assert not slurm.jobs()


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_controller_that_is_stopped_and_the_same_command_again(study, slurm, undisturbed, number):
    controller = study.start()
    until(lambda: running_of(study, slurm, "generate"))
    controller.send_signal(number)
    controller.wait(timeout=300)
    until(lambda: not slurm.jobs())
    study.finish()
    assert study.tables() == undisturbed()


@pytest.mark.soak
def test_a_job_that_is_cancelled_is_run_again(study, slurm, undisturbed):
    controller = study.start()
    slurm.ask("scancel", hang(study, slurm, "generate"))
    study.ends_well(controller)
    assert "Trying to restart job" in study.printed
    assert study.tables() == undisturbed()


@pytest.mark.soak
def test_a_job_over_its_memory_gets_more(study, slurm, undisturbed):
    study.finish("--set-resources", "train:mem_mb=150*8**(attempt-1)", "train:slurm_partition=gpu", *STUDY)
    assert "Trying to restart job" in study.printed
    assert study.tables() == undisturbed()


@pytest.mark.soak
def test_a_job_over_its_time_goes_on_from_its_checkpoint(study, slurm, undisturbed):
    long = ["--config", "shards=2", "steers={style: {steps: 10000}}"]
    controller = study.start("--set-resources", "train:runtime=1", "train:slurm_partition=gpu", *long)
    until(lambda: list(study.folder.glob("results/.cache/checkpoints/*.safetensors")))
    number = hang(study, slurm, "train")
    study.ends_well(controller)
    assert {job["JobState"] for job in slurm.history() if job["JobId"] == number} == {"TIMEOUT"}
    log = (study.folder / "results/logs/train/tiny.style.seed0.log").read_text(encoding="utf-8")
    assert "from an earlier run" in log
    assert study.tables() == undisturbed(*long)


@pytest.mark.soak
def test_a_node_that_goes_down_and_comes_back(study, slurm, undisturbed):
    controller = study.start()
    until(lambda: running_of(study, slurm, "train"))
    slurm.set_node("down")
    until(lambda: not running_of(study, slurm, "train"), 300)
    slurm.set_node("resume")
    until(slurm.is_up)
    controller.send_signal(signal.SIGINT)
    controller.wait(timeout=120)
    study.finish()
    assert study.tables() == undisturbed()


@pytest.mark.soak
def test_a_cluster_that_knows_gres_alone(study, slurm, undisturbed):
    path = study.folder / "workflow/profiles/slurm/profile.yaml"
    profile = yaml.safe_load(path.read_text(encoding="utf-8"))
    for block in profile["set-resources"].values():
        block |= {"gpu": 0, "gres": "gpu:1"}
    path.write_text(yaml.safe_dump(profile), encoding="utf-8")
    study.finish()
    assert set(times_on_devices(study, slurm)) == {"0", "1"}
    assert study.tables() == undisturbed()
