"""Devices that are leased one by one: fake ones, for a lease needs no more than their names."""

import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from lm_steer import LMSteerError
from lm_steer.util import gpu_lease as lease
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


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "FOLDER", tmp_path / "devices")
    return tmp_path / "devices"


def test_the_folder_of_leases_is_for_all_and_sticky(folder):
    before = os.umask(0o077)
    try:
        with leased_device() as name:
            assert name == "0"
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o666]


@pytest.mark.parametrize("plant", ["link to a folder", "file", "link to a file", "pipe", "folder for the lock"])
def test_what_another_user_planted_is_neither_followed_nor_changed(folder, tmp_path, plant):
    mine = tmp_path / "mine"
    if plant == "link to a folder":
        mine.mkdir(mode=0o700)
        folder.symlink_to(mine)
    elif plant == "file":
        folder.touch(0o600)
    else:
        folder.mkdir()
        lock = folder / f"test{os.getpid()}-0.lock"
        if plant == "link to a file":
            mine.touch(0o600)
            lock.symlink_to(mine)
        elif plant == "pipe":
            os.mkfifo(lock)
        else:
            lock.mkdir()
    before = stat.S_IMODE(mine.stat().st_mode) if mine.exists() else None
    with pytest.raises(LMSteerError, match="cannot be used to share the GPUs"), leased_device():
        pass
    assert (stat.S_IMODE(mine.stat().st_mode) if mine.exists() else None) == before


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_taken_only_with_the_sticky_bit(folder):
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    folder.chmod(0o777)
    with pytest.raises(LMSteerError, match="its owner is another user"), leased_device():
        pass
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777
    folder.chmod(0o1777)
    with leased_device() as name:
        assert name == "0"


def test_jobs_of_slurm_do_not_wait_for_each_other(holder, monkeypatch):
    monkeypatch.setenv(VISIBLE, "0")
    _, name = holder()
    assert name == "0"
    # In another job the first device is another one.
    monkeypatch.setenv("SLURM_JOB_ID", f"other{os.getpid()}")
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits"))
    with leased_device() as mine:
        assert mine == "0"
