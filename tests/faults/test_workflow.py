"""The whole workflow: its controller killed, two runs at once in one folder, files from the future."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from running import places

PROFILE = ["--workflow-profile", "workflow/profiles/local", "--cores", "2"]


@pytest.fixture
def start(project, commands) -> Callable[[], subprocess.Popen]:
    """Return a function that starts a controller of the project; the commands of its jobs start at once."""

    def started() -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "tables", *PROFILE],
            cwd=project,
            env=os.environ | places(project, commands),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A group of its own, so that a test may end what the controller left.
            start_new_session=True,
        )

    return started


@pytest.fixture
def ends_well(start, project, whole) -> Callable[[], float]:
    """Return a function that runs the study to its end, and asks for the tables of an undisturbed run."""

    def run() -> float:
        begun = time.monotonic()
        process = start()
        printed, _ = process.communicate()
        assert process.returncode == 0, printed[-5000:]
        assert tables(project) == tables(whole)
        return time.monotonic() - begun

    return run


def tables(project: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (project / "results/tables").glob("*.csv")}


@pytest.mark.parametrize("kills", [1, pytest.param(4, marks=pytest.mark.soak)])
@pytest.mark.parametrize("orphans", ["stay", pytest.param("go", marks=pytest.mark.soak)])
def test_a_killed_controller_leaves_a_lock_and_orphans_that_do_no_harm(project, start, ends_well, row, kills, orphans):
    for begun in ("train", "generate", "score", "table")[:kills]:
        process = start()
        # A step has begun: it may be at any point when its controller ends.
        while not list(project.glob(f"results/logs/{begun}/*")) and process.poll() is None:
            time.sleep(0.1)
        if orphans == "stay":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()
    seconds = ends_well()
    left = "its jobs live on" if orphans == "stay" else "its jobs with it"
    fault = f"SIGKILL of the workflow's controller, {kills} times, {left}"
    row(fault, "“An earlier run was killed here: its lock was removed”", "nothing", seconds)


def test_a_second_run_in_one_folder_stays_out(project, whole, start, ends_well, row):
    first = start()
    while not list((project / ".snakemake/locks").glob("*")):
        assert first.poll() is None
        time.sleep(0.1)
    # It cannot end before the second has seen it.
    first.send_signal(signal.SIGSTOP)
    second = start()
    printed, _ = second.communicate()
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 1 and "cannot be locked" in printed
    printed, _ = first.communicate()
    assert first.returncode == 0, printed[-3000:]
    assert tables(project) == tables(whole)
    seconds = ends_well()
    row("two runs at once in one folder", "the second: “Directory cannot be locked …”", "nothing", seconds)


@pytest.mark.soak
def test_an_input_from_the_future_is_named_and_goes_on_when_touched(project, start, ends_well, row):
    os.utime(project / "texts.jsonl", (time.time() + 3e7,) * 2)
    process = start()
    printed, _ = process.communicate()
    assert process.returncode == 1
    assert "older modification time" in printed and "input texts.jsonl" in printed and "clock skew" in printed
    (project / "texts.jsonl").touch()
    seconds = ends_well()
    seen = "“… older modification time … than input texts.jsonl … clock skew …”; after `touch texts.jsonl` it goes on"
    row("an input with a date of next year, as a clock that jumps back leaves it", seen, "nothing", seconds)
