"""Locks of a run that was killed are taken away; those of a run that may be at work stay."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lm_steer.util.run_lock import hold

HERE = socket.gethostname()


def leave_locked(folder: Path, owner: str) -> Path:
    """Leave what a run of `owner` leaves when it is killed: its own record and Snakemake's lock."""
    lock = folder / "locks/0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("results/prompts/few.jsonl\n", encoding="utf-8")
    (folder / "run.lock").write_text(owner, encoding="utf-8")
    return lock


def ended() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    "owner",
    [lambda: f"{HERE} {ended()} 1.0", lambda: f"{HERE} {os.getpid()} 1.0"],
    ids=["no such process", "its id in use by a later process"],
)
def test_the_lock_of_a_run_that_was_killed_here_is_taken_away(tmp_path, owner):
    lock = leave_locked(tmp_path, owner())
    _, message = hold(tmp_path, lambda: ["17"])
    assert message == "An earlier run was killed here: its lock was removed and its jobs ['17'] cancelled."
    assert not lock.exists() and str(os.getpid()) in (tmp_path / "run.lock").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("owner", "named"),
    [
        (lambda: "elsewhere 1 1.0", "process 1 on elsewhere"),
        (
            lambda: f"{HERE} {os.getpid()} {psutil.Process().create_time()}",
            f"process {os.getpid()} on {HERE}",
        ),
        (lambda: "noise", "an unknown run"),
    ],
    ids=["another machine", "at work", "no name"],
)
def test_the_lock_of_a_run_that_may_be_at_work_stays(tmp_path, owner, named):
    lock = leave_locked(tmp_path, written := owner())
    _, message = hold(tmp_path, pytest.fail)
    assert message == f"This folder is locked by {named}: if that has ended, run `snakemake --unlock`."
    assert lock.exists() and (tmp_path / "run.lock").read_text(encoding="utf-8") == written


def test_a_run_at_work_elsewhere_that_holds_no_lock_yet_keeps_its_name(tmp_path):
    leave_locked(tmp_path, "elsewhere 1 1.0").unlink()
    assert hold(tmp_path, pytest.fail)[1] == ""
    assert (tmp_path / "run.lock").read_text(encoding="utf-8") == "elsewhere 1 1.0"


def test_a_run_that_ends_by_itself_leaves_no_name(tmp_path):
    code = "import sys, pathlib, lm_steer.util.run_lock as r; lock = r.hold(pathlib.Path(sys.argv[1]), list)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert (tmp_path / "run.lock").read_text(encoding="utf-8") == ""
