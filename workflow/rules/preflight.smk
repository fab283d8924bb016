# Looked at before any job starts: the profile's keys and rule names, GPUs, partitions, the folder. No rules.
import atexit
import contextlib
import fcntl
import io
import os
import re
import socket
import sys
from pathlib import Path

import psutil
import yaml
from snakemake import cli

from lm_steer.study.messages import near
from lm_steer.util.gpu_lease import devices
from lm_steer.util.machine import is_local
from lm_steer.util.slurm import cancel_jobs_of, line_of, nodes_elsewhere, partitions, wanted

# The name of a partition; what is no name is an expression, of which nothing is known before the job.
PLAIN = re.compile(r"[\w.-]+")


def command_line():
    """What this run was asked on the command line and in profiles: its options, their names, the profile files."""
    with contextlib.redirect_stderr(io.StringIO()):
        parser, chosen = cli.parse_args(sys.argv[1:])
    names = {option.lstrip("-") for action in parser._actions for option in action.option_strings}
    return chosen, sorted(names), [Path(path) for path in parser._default_config_files]


def given(rule, name):
    """A resource of a rule as text, as it is written down; nothing where a function of the job makes it."""
    resource = rule.resources.get(name)
    if resource is None:
        return ""
    written = resource.raw if resource.is_evaluable() else resource.value
    return "" if written is None else str(written).strip("'\"")


def problems_of_profiles(names, files):
    rules = sorted(each.name for each in workflow.rules)
    for file in files:
        profile = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        for key in set(profile) - set(names) - {"__use_yte__"}:
            yield f"{line_of([file], key)}: Snakemake has no option '{key}'{near(key, names)}"
        for key in ("set-resources", "set-threads", "groups"):
            for name in set(profile.get(key) or {}) - set(rules):
                yield f"{line_of([file], f'{name}:')}: {key}: '{name}' is not a rule{near(name, rules)}"


def problems_of_machine(files):
    there = devices()
    if GPUS > len(there):
        place = line_of(files, "gpu:") or "--resources gpu"
        yield f"{place}: {GPUS} GPUs asked, this machine has {len(there)}: {f'set {len(there)}' if there else 'leave it out'}"


def problems_of_cluster(files):
    found = partitions()
    if not found:
        yield "SLURM does not answer to `sinfo`: start the run on a machine of the cluster"
        return
    unknown = {}
    for each in workflow.rules:
        if each.name in workflow._localrules:
            continue
        names = [name for name in given(each, "slurm_partition").split(",") if PLAIN.fullmatch(name)]
        for name in set(names) - set(found):
            unknown.setdefault(name, []).append(each.name)
        known = [name for name in names if name in found]
        model, gpus = given(each, "gpu_model"), given(each, "gpu")
        asked = int(gpus) if gpus.isdigit() and int(gpus) else wanted(given(each, "gres"))
        most = max((found[name].most(model) for name in known), default=asked)
        if asked > most:
            place = line_of(files, f"{each.name}:") or "--set-resources"
            yield (
                f"{place}: {each.name} asks for {asked} GPU{'s' * (asked > 1)}{f' {model}' * bool(model)}, a node of the partition "
                f"{', '.join(known)} has {most}: lower it, choose another partition, or set `gpu: 0` to use none"
            )
    for name, rules in unknown.items():
        place = line_of(files, f"slurm_partition: {name}") or "--set-resources"
        yield (
            f"{place}: there is no partition '{name}'{near(name, list(found))}; there are {', '.join(found)} "
            f"(named for {', '.join(rules)})"
        )
    others = nodes_elsewhere(found)
    if is_local(".") and others and "LM_STEER_SHARED" not in os.environ:
        yield (
            f"{Path.cwd()} lies on a disk of this machine, which {others[0]} and other nodes cannot see: run "
            "in a folder that all nodes share, or name one by --directory (where they do share it, set "
            "LM_STEER_SHARED=1)"
        )


def owner_of(lock):
    """The host, process id and start time of the run that a lock file names, or None."""
    lock.seek(0)
    try:
        host, pid, started = lock.read().split()
        return host, int(pid), float(started)
    except ValueError:
        return None


def is_gone(host, pid, started):
    """Whether a run has certainly ended: nothing is known of other machines, and process ids are used again."""
    try:
        return host == socket.gethostname() and abs(psutil.Process(pid).create_time() - started) > 1
    except psutil.NoSuchProcess:
        return True


def write_owner(lock, owner=()):
    lock.truncate(0)
    lock.write(" ".join(map(str, owner)))
    lock.flush()


def clear_after_a_killed_run(on_cluster):
    """Hold this folder's run lock for as long as this process lives; one that was killed left Snakemake's behind.

    The lock file names its owner, for some file systems keep locks on one machine only: the owner may be at work on
    another one. Nothing is taken from it unless it has certainly ended.
    """
    folder = Path(".snakemake")
    folder.mkdir(exist_ok=True)
    lock = open(folder / "run.lock", "a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Another run is at work here, as Snakemake will say; or the file system knows no locks.
        return lock
    owner, left = owner_of(lock), list((folder / "locks").glob("*"))
    if (owner or left) and not (owner and is_gone(*owner)):
        if left:
            run = f"process {owner[1]} on {owner[0]}" if owner else "a run that left no name"
            logger.warning(f"This folder is locked by {run}: if that has ended, run `snakemake --unlock`.")
        return lock
    for path in left:
        path.unlink(missing_ok=True)
    orphans = cancel_jobs_of(".") if on_cluster and left else []
    if left:
        logger.info(
            f"An earlier run was killed here: its lock is taken away{f', its jobs {orphans} are cancelled' if orphans else ''}."
        )
    write_owner(lock, [socket.gethostname(), os.getpid(), psutil.Process().create_time()])
    atexit.register(write_owner, lock)
    return lock


if workflow.is_main_process:
    CHOSEN, NAMES, PROFILES = command_line()
    ON_CLUSTER = CHOSEN.executor == "slurm"
    PROBLEMS = [
        *problems_of_profiles(NAMES, PROFILES),
        *(problems_of_cluster(PROFILES) if ON_CLUSTER else problems_of_machine(PROFILES)),
    ]
    if PROBLEMS:
        raise WorkflowError(
            "the profile does not fit:\n" + "\n".join(f"  {problem}" for problem in dict.fromkeys(PROBLEMS))
        )
    if CHOSEN.unlock:
        Path(".snakemake/run.lock").unlink(missing_ok=True)
    elif not CHOSEN.dryrun:
        RUN_LOCK = clear_after_a_killed_run(ON_CLUSTER)
