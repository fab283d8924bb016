"""Devices that are leased one by one: fake ones, for a lease needs no more than their names."""

import os
import signal
import subprocess
import sys
import time

import pytest

from lm_steer.util.gpu_lease import VISIBLE, devices, leased_device

HOLD = """
from lm_steer.util.gpu_lease import leased_device
with leased_device() as name:
    print(name, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def two_devices(tmp_path, monkeypatch):
    # A job id of its own keeps these leases apart from those of real devices.
    monkeypatch.setenv("SLURM_JOB_ID", f"test{os.getpid()}")
    monkeypatch.setenv(VISIBLE, "0,1")


@pytest.fixture
def holder():
    """Return a function that starts a process which holds a device until it is ended: (process, device)."""
    started = []

    def start() -> tuple[subprocess.Popen, str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("visible", "names"), [("0,1", ["0", "1"]), ("3", ["3"]), ("", []), ("-1", [])])
def test_the_devices_are_those_that_are_visible(monkeypatch, visible, names):
    monkeypatch.setenv(VISIBLE, visible)
    assert devices() == names


def test_a_lease_shows_one_device_and_gives_it_back():
    with leased_device() as name:
        assert os.environ[VISIBLE] == name == "0"
    assert os.environ[VISIBLE] == "0,1"
    with leased_device() as again:
        assert again == "0"


def test_no_device_is_taken_where_none_is_wanted_or_there(monkeypatch):
    with leased_device(wanted=False) as name:
        assert name is None and os.environ[VISIBLE] == "0,1"
    monkeypatch.setenv(VISIBLE, "")
    with leased_device() as name:
        assert name is None and os.environ[VISIBLE] == ""


def test_two_processes_hold_two_devices_and_a_third_waits_for_one_that_is_killed(holder, capfd):
    (first, one), (_, two) = holder(), holder()
    assert {one, two} == {"0", "1"}
    third = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert "all of the devices 0, 1 are in use: waiting" in third.stderr.readline()
        first.send_signal(signal.SIGKILL)
        assert third.stdout.readline().strip() == one
    finally:
        third.kill()
        third.communicate()


def test_jobs_of_slurm_do_not_wait_for_each_other(holder, monkeypatch):
    monkeypatch.setenv(VISIBLE, "0")
    _, name = holder()
    assert name == "0"
    # In another job the first device is another one.
    monkeypatch.setenv("SLURM_JOB_ID", f"other{os.getpid()}")
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits"))
    with leased_device() as mine:
        assert mine == "0"
