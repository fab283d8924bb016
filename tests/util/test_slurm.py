"""What is read of a site; the partitions of a real SLURM are in tests/cluster."""

from pathlib import Path

import pytest

from lm_steer.util.database import is_local
from lm_steer.util.slurm import Partition, Request, gpus_in, line_of, misfits, partitions


@pytest.mark.parametrize(
    ("gres", "count"), [("gpu:1", 1), ("gpu:a100:4(S:0-1)", 4), ("(null)", 0), ("", 0), ("shard:8,gpu:2", 2)]
)
def test_gpus_of_a_request_or_a_node(gres, count):
    assert gpus_in(gres) == count


def test_the_most_gpus_of_a_partition_by_model():
    partition = Partition({"a100": 4, "": 2})
    assert (partition.most(), partition.most("a100"), partition.most("h100")) == (4, 4, 0)


def test_without_slurm_there_are_no_partitions(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert partitions() == {}


def test_a_folder_of_this_machine_alone():
    assert is_local("/dev/shm")
    assert not is_local("/proc/self")


def test_the_line_of_a_word(tmp_path):
    first, last = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("jobs: 1\ngpu: 2\n", encoding="utf-8")
    last.write_text("# gpu: 9\njobs: 2\n", encoding="utf-8")
    assert line_of([first, last], "gpu:") == f"{first}, line 2"
    assert line_of([first, last], "jobs:") == f"{last}, line 2"
    assert line_of([Path(first)], "cores") == ""


def test_what_no_partition_has_is_named_with_its_line(tmp_path):
    profile = tmp_path / "profile.yaml"
    profile.write_text("set-resources:\n  train:\n    slurm_partition: gpus\n  score:\n    gpu: 8\n", encoding="utf-8")
    requests = [Request("train", ["gpus"], 1), Request("score", ["gpu"], 8, "a100"), Request("table", ["gpu"], 0)]
    wrong, much = sorted(misfits(requests, {"gpu": Partition({"a100": 4})}, [profile]), key=len)
    assert wrong.startswith(f"{profile}, line 3: there is no partition 'gpus' (did you mean 'gpu'?); there are gpu")
    assert much.startswith(
        f"{profile}, line 4: score asks for 8 GPUs a100, but a node of the partition gpu has 4: ask for fewer"
    )
