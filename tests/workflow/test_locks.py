"""Locks of a run that was killed are taken away; those of a run that may be at work stay."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

PROMPTS = "results/prompts/few.jsonl"


def leave_locked(project: Path, owner: str) -> Path:
    """Leave what a run of `owner` leaves when it is killed: its own record and Snakemake's lock."""
    lock = project / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text(f"{PROMPTS}\n", encoding="utf-8")
    (project / ".snakemake/run.lock").write_text(owner, encoding="utf-8")
    return lock


def ended() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    "owner",
    [lambda: f"{socket.gethostname()} {ended()} 1.0", lambda: f"{socket.gethostname()} {os.getpid()} 1.0"],
    ids=["no such process", "its id in use by a later process"],
)
def test_the_lock_of_a_run_that_was_killed_here_is_taken_away(project, snakemake, owner):
    lock = leave_locked(project, owner())
    assert "An earlier run was killed here" in snakemake(PROMPTS).stdout
    assert not lock.exists() and (project / PROMPTS).exists()
    # A run that ends by itself leaves no name.
    assert (project / ".snakemake/run.lock").read_text(encoding="utf-8") == ""


@pytest.mark.parametrize(
    ("owner", "named"),
    [
        (lambda: "elsewhere 1 1.0", "process 1 on elsewhere"),
        (
            lambda: f"{socket.gethostname()} {os.getpid()} {psutil.Process().create_time()}",
            f"process {os.getpid()} on {socket.gethostname()}",
        ),
        (lambda: "noise", "a run that left no name"),
    ],
    ids=["another machine", "at work", "no name"],
)
def test_the_lock_of_a_run_that_may_be_at_work_stays(project, snakemake, owner, named):
    lock, record = leave_locked(project, written := owner()), project / ".snakemake/run.lock"
    printed = snakemake(PROMPTS, succeeds=False).stdout
    assert f"This folder is locked by {named}: if that has ended, run `snakemake --unlock`" in printed
    assert "cannot be locked" in printed and "Traceback" not in printed
    assert lock.exists() and record.read_text(encoding="utf-8") == written


def test_unlocking_forgets_the_run_that_held_the_lock(project, snakemake):
    lock = leave_locked(project, "elsewhere 1 1.0")
    snakemake("--unlock")
    assert not lock.exists()
    snakemake(PROMPTS)
    assert (project / PROMPTS).exists()


def test_a_run_at_work_elsewhere_that_holds_no_lock_yet_keeps_its_name(project, snakemake):
    leave_locked(project, "elsewhere 1 1.0").unlink()
    snakemake(PROMPTS)
    assert (project / ".snakemake/run.lock").read_text(encoding="utf-8") == "elsewhere 1 1.0"
