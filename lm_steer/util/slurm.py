"""A SLURM cluster's partitions with their GPUs and nodes, and the jobs that a killed run left behind.

partitions()["gpu"].gpus             # {"a100": 4}, the most on any one node
"""

import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lm_steer.util.files import read_text
from lm_steer.util.machine import output_of
from lm_steer.util.words import near

QUEUED = "PENDING,CONFIGURING,RUNNING,COMPLETING"


@dataclass
class Partition:
    """The GPUs of a partition, model → the most on any one node ("" if models have no names), and its nodes."""

    gpus: dict[str, int] = field(default_factory=dict)
    nodes: set[str] = field(default_factory=set)

    def most(self, model: str = "") -> int:
        """Return how many GPUs, of one model or of any, a job can get on one node."""
        return max((count for name, count in self.gpus.items() if model in ("", name)), default=0)


@dataclass
class Request:
    """What a rule requests from the cluster: partitions by name, and a number of GPUs, of one model or of any."""

    rule: str
    partitions: list[str]
    gpus: int
    model: str = ""


def misfits(requests: Iterable[Request], partitions: dict[str, Partition], files: Sequence[Path]) -> Iterator[str]:
    """Yield requests that no partition can meet, each with the profile's line that makes it."""
    unknown: dict[str, list[str]] = {}
    for request in requests:
        for name in set(request.partitions) - set(partitions):
            unknown.setdefault(name, []).append(request.rule)
        known = [name for name in request.partitions if name in partitions]
        most = max((partitions[name].most(request.model) for name in known), default=request.gpus)
        if request.gpus > most:
            place = line_of(files, f"{request.rule}:") or "--set-resources"
            what = f"GPU{'s' * (request.gpus > 1)}{f' {request.model}' * bool(request.model)}"
            yield (
                f"{place}: {request.rule} asks for {request.gpus} {what}, but a node of the partition "
                f"{', '.join(known)} has {most}: ask for fewer, choose another partition, or set `gpu: 0` to use none"
            )
    for name, rules in unknown.items():
        place = line_of(files, f"slurm_partition: {name}") or "--set-resources"
        listed = f"{near(name, partitions)}; there are {', '.join(partitions)}"
        yield f"{place}: there is no partition '{name}'{listed} (requested by {', '.join(rules)})"


def partitions() -> dict[str, Partition]:
    """Return the partitions that SLURM lists; none if it does not answer."""
    by_name: dict[str, Partition] = {}
    for line in output_of("sinfo", "--noheader", "--Node", "--format", "%R|%G|%N").splitlines():
        name, gres, node = line.split("|")
        partition = by_name.setdefault(name, Partition())
        partition.nodes.add(node)
        for model, count in _gpus(gres).items():
            partition.gpus[model] = max(count, partition.gpus.get(model, 0))
    return by_name


def other_nodes(partitions: dict[str, Partition]) -> list[str]:
    """Return the nodes other than this machine."""
    nodes = {node for partition in partitions.values() for node in partition.nodes}
    return sorted(nodes - {socket.gethostname().split(".")[0]})


def cancel_jobs_of(folder: str | Path) -> list[str]:
    """Cancel the workflow's jobs that still run in `folder` after their controller was killed; return their ids.

    Waits up to a minute until they have ended, because a failing job removes its unfinished files.
    """
    jobs = _jobs_of(folder)
    if jobs:
        output_of("scancel", *jobs)
    end = time.monotonic() + 60
    while jobs and _jobs_of(folder) and time.monotonic() < end:
        time.sleep(0.5)
    return jobs


def _jobs_of(folder: str | Path) -> list[str]:
    listing = output_of("squeue", "--noheader", "--user", str(os.getuid()), "--format", "%A|%k|%Z", "--states", QUEUED)
    lines = [line.split("|", 2) for line in listing.splitlines()]
    here = Path(folder).resolve()
    return sorted({job for job, rule, place in lines if rule.startswith("rule_") and Path(place).resolve() == here})


def _gpus(gres: str) -> dict[str, int]:
    """Read `gpu:a100:4(S:0-1),gpu:2` as {"a100": 4, "": 2}."""
    counts: dict[str, int] = {}
    for part in gres.replace("(null)", "").split(","):
        name, *rest = part.split("(")[0].split(":")
        if name == "gpu" and rest and rest[-1].isdigit():
            counts[":".join(rest[:-1])] = int(rest[-1])
    return counts


def gpus_in(gres: str) -> int:
    """Return the number of GPUs in a request like `gpu:1` or `gpu:a100:2`."""
    return sum(_gpus(gres).values())


def line_of(files: Sequence[Path], word: str) -> str:
    """Return where a word first occurs in the last file that has it, as `profile.yaml, line 12`; "" if none has."""
    for file in reversed(files):
        for number, line in enumerate(read_text(file).splitlines(), start=1):
            if word in line.split("#")[0]:
                return f"{file}, line {number}"
    return ""
