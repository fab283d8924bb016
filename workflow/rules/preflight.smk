# Checks before any job starts: the profile's keys and rule names, GPUs, partitions, the folder. No rules.
import contextlib
import io
import os
import re
import sys
from functools import partial
from pathlib import Path

import yaml
from snakemake import cli

from lm_steer.util.database import is_local
from lm_steer.util.gpu_lease import devices
from lm_steer.util.run_lock import hold
from lm_steer.util.slurm import Request, cancel_jobs_of, gpus_in, line_of, misfits, other_nodes, partitions
from lm_steer.util.words import near

# The name of a partition; anything else is an expression, whose value is only known with the job.
PLAIN = re.compile(r"[\w.-]+")


def command_line():
    """Return the options of this run from the command line and profiles, all option names, and the profile files."""
    with contextlib.redirect_stderr(io.StringIO()):
        parser, chosen = cli.parse_args(sys.argv[1:])
    names = set(re.findall(r"--([a-z][a-z-]*)", parser.format_help()))
    sources = (source.partition("config_file|") for source in parser.get_source_to_settings_dict())
    return chosen, sorted(names), [Path(path) for _, of_profile, path in sources if of_profile]


def resource_of(rule, name):
    """Return a resource of a rule as text, as written in the rule or profile; "" if it is computed per job."""
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
    count = len(devices())
    if GPUS > count:
        place = line_of(files, "gpu:") or "--resources gpu"
        yield f"{place}: {GPUS} GPUs requested, this machine has {count}: {f'set {count}' if count else 'leave it out'}"


def request(rule):
    """Return what a rule requests from the cluster; partitions that are expressions are left out."""
    gpus = resource_of(rule, "gpu")
    count = int(gpus) if gpus.isdigit() and int(gpus) else gpus_in(resource_of(rule, "gres"))
    names = [name for name in resource_of(rule, "slurm_partition").split(",") if PLAIN.fullmatch(name)]
    return Request(rule.name, names, count, resource_of(rule, "gpu_model"))


def problems_of_cluster(files):
    available = partitions()
    if not available:
        yield "`sinfo` lists no partitions: start the run on a machine of the cluster"
        return
    yield from misfits(map(request, workflow.rules), available, files)
    others = other_nodes(available)
    if is_local(".") and others and "LM_STEER_SHARED" not in os.environ:
        yield (
            f"{Path.cwd()} is on a local disk, which {others[0]} and other nodes cannot see: run in a folder that all "
            "nodes share, or pass one as --directory (if they do share it, set LM_STEER_SHARED=1)"
        )


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
        RUN_LOCK, MESSAGE = hold(Path(".snakemake"), partial(cancel_jobs_of, ".") if ON_CLUSTER else list)
        if MESSAGE:
            logger.warning(MESSAGE)
        if workflow.modifier.is_module:
            STUDY.write(targets.STUDY_FILE)
