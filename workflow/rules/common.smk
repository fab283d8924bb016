# The validated study, access to its plan, and resources. No rules.
import inspect
import os

from snakemake.exceptions import WorkflowError

from lm_steer.data import layout
from lm_steer.study import plan, targets
from lm_steer.study.config import EFFECT_KINDS, resolved
from lm_steer.util.code_digest import code_digest
from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import fingerprint

# By default glibc returns the memory of a decode step to the system and requests it again, page by page; keeping it saves
# a seventh of the time of sampling on a CPU. 2 GB - 1 and 32 MB are the largest values that glibc accepts.
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", f"{2**31 - 1}")
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", f"{32 << 20}")
# None if nothing is run: `--report`, `--rulegraph`.
CORES = workflow.resource_settings.cores or 1
# Two torch jobs on the same cores starve each other: one job gets all cores, or each of `--resources gpu=N` its share.
# On a cluster the profile sets the threads of a job.
GPUS = getattr(workflow.resource_settings.resources.get("gpu"), "value", None) or 0
TORCH_THREADS = max(1, CORES // max(1, GPUS))
ENVIRONMENT = "../../envs/environment.yaml"

try:
    STUDY = resolved(config)
except LMSteerError as error:
    raise WorkflowError(str(error)) from None

MODEL_SCORERS = targets.scorers_that(STUDY, "by_model")
SIDE_EFFECTS = targets.scorers_that(STUDY, "of_model")
ONLINE = targets.scorers_that(STUDY, "online")
PAGE = "reports/index.html"
FIGURES = "results/figures"


def from_plan(rule, what):
    """Return a function of wildcards that gives the plan's inputs, options, part or by_model of a rule."""
    names = inspect.signature(rule).parameters

    def lookup(wildcards):
        chosen = {name: value for name, value in wildcards.items() if name in names}
        return getattr(rule(STUDY, **chosen), what)

    return lookup


def threads_of(rule):
    """Return a function of wildcards: the threads of a torch job if the rule runs a model, else one."""
    by_model = from_plan(rule, "by_model")
    return lambda wildcards: TORCH_THREADS if by_model(wildcards) else 1


def memory(mb):
    """Return `mem_mb` of a job: `mb` at the first attempt, doubled at each further one."""

    def by_attempt(wildcards, attempt):
        return mb * 2 ** (attempt - 1)

    return by_attempt


def any_of(names):
    """Return a wildcard's constraint: one of the names, or a text that matches no file if there are none."""
    return "|".join(map(str, names)) or "-"


wildcard_constraints:
    model=any_of([*STUDY.models_used, layout.EXTERNAL]),
    setting=any_of(STUDY.settings),
    seed=any_of(STUDY.seeds),
    dataset=any_of(STUDY.datasets),
    prompts=any_of(STUDY.prompts),
    steer=any_of(STUDY.steers),
    adapter=any_of(STUDY.adapters),
    analysis=any_of(name for _, blocks in STUDY.analyses for name in blocks),
    scorer=any_of(STUDY.scorers),
    table=any_of(STUDY.tables),
    agreement=any_of(STUDY.agreement),
