"""A process that has imported everything once and forks for each case: a case takes milliseconds, and harms nothing.

python -m hostile.worker        # a case a line on standard input (JSON), its outcome a line on standard output
"""

import contextlib
import gc
import hashlib
import importlib
import io
import json
import os
import pkgutil
import resource
import select
import shlex
import shutil
import signal
import stat
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

# Whose modules the worker imports as well: these cases bring no code of their own.
TRUSTED = ("world", "sound")
SPARE_MEMORY = 3 << 30
WRONG = "the result is wrong:"


def imported() -> None:
    """Import the package whole, and what it imports when it is used."""
    import matplotlib.figure
    import numpy
    import pandas
    import pyarrow.parquet
    import torch
    import transformers.models.llama.modeling_llama

    import lm_steer.cli

    torch.set_num_threads(1)
    assert all((matplotlib.figure, numpy, pandas, pyarrow.parquet, transformers.AutoModelForCausalLM))
    for name in ("sklearn.linear_model", "sklearn.svm", "profanity_check", "peft"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    from hostile import world

    world.made_steer()
    for module in pkgutil.walk_packages(lm_steer.__path__, "lm_steer."):
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)


def state(root: Path) -> dict[str, str]:
    """Return every path below `root` with its type, mode and content."""
    found = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        kind = stat.filemode(info.st_mode)
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest() if os.access(path, os.R_OK) else "unreadable"
        else:
            content = ""
        found[str(path.relative_to(root))] = f"{kind} {content}"
    return found


def changes(before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    """Return what became of each path that is not as it was: lost, changed or new."""
    lost = {path: "lost" for path in before if path not in after}
    new = {path: "new" for path in after if path not in before}
    changed = {path: "changed" for path in before if path in after and before[path] != after[path]}
    return lost | changed | new


def tools() -> dict[str, Any]:
    """What a case's Python may use without importing it."""
    import numpy
    import pandas
    import torch
    from hostile import world

    import lm_steer

    names = {"np": numpy, "pd": pandas, "torch": torch, "lm_steer": lm_steer, "world": world}
    modules = {module.__name__: module for module in (json, os, shutil, sys, io)}
    return (
        {"__name__": "case"} | names | modules | {"Path": Path} | {name: getattr(world, name) for name in world.__all__}
    )


def perform(command: str) -> int:
    """Run a case's command as its own process would, and return the exit code."""
    from lm_steer import LMSteerError
    from lm_steer.cli import main

    try:
        if command.startswith("py:"):
            exec(command[3:], tools())
        else:
            sys.argv = ["lm-steer", *shlex.split(command)]
            main()
        return 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except LMSteerError as error:
        if not command.startswith("py:"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1


def child(case: dict[str, Any], scratch: Path) -> int:
    """Prepare the folder, note its state, and perform the command; in a process of its own."""
    os.setpgid(0, 0)
    # Torch makes its pool of threads again after a fork, which two threads at once would stumble over.
    tools()["torch"].set_num_threads(1)
    root, work = Path(case["root"]), Path(case["root"]) / "outer" / "work"
    os.chdir(work)
    os.environ |= dict(case["environment"])
    if case["before"]:
        exec(case["before"], tools())
    (scratch / "before.json").write_text(json.dumps(state(root)))
    (scratch / "stdin").write_text(case["stdin"])
    for number, name, flags in (
        (0, "stdin", os.O_RDONLY),
        (1, "stdout", os.O_WRONLY | os.O_CREAT),
        (2, "stderr", os.O_WRONLY | os.O_CREAT),
    ):
        os.dup2(os.open(scratch / name, flags), number)
    virtual = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (virtual + SPARE_MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    code = 1
    try:
        code = perform(case["command"])
        if code == 0 and case["check"]:
            exec(case["check"], tools())
    except BaseException as error:
        # What a case's own Python asserts is about a result, not a traceback of the package's.
        if isinstance(error, AssertionError) and (code == 0 or case["command"].startswith("py:")):
            code = 0
            print(f"{WRONG} {error!r} at line {error.__traceback__.tb_next.tb_lineno}", file=sys.stderr)
        else:
            traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    if case["group"] in TRUSTED:
        (scratch / "modules").write_text("\n".join(sys.modules))
    return code


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    """Fork for a case, wait for its end, and return exit code, what was printed, and what has changed."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        begun = _cpu_seconds()
        process = os.fork()
        if not process:
            code = 70
            try:
                code = child(case, scratch)
            except BaseException:
                (scratch / "broken").write_text(traceback.format_exc())
            finally:
                os._exit(code)
        code = waited(process, case["seconds"])
        if (scratch / "broken").exists():
            return {"broken": (scratch / "broken").read_text()}
        printed = {
            name: (scratch / name).read_bytes().decode(errors="replace")[-20000:] for name in ("stdout", "stderr")
        }
        if (scratch / "modules").exists():
            _import_too((scratch / "modules").read_text().split("\n"))
        before = json.loads((scratch / "before.json").read_text())
        return {
            "code": code,
            **printed,
            "changes": changes(before, state(Path(case["root"]))),
            "took": round(_cpu_seconds() - begun, 2),
        }


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _import_too(names: list[str]) -> None:
    """Import what a case has imported, so that no other needs to."""
    for name in names:
        if name not in sys.modules and name.partition(".")[0] not in ("hostile", "__main__"):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    gc.collect()
    gc.freeze()


def waited(process: int, seconds: float) -> int | None:
    """Return the exit code of a child (negative for a signal), or None where it was still running."""
    watch = os.pidfd_open(process)
    ended = select.select([watch], [], [], seconds)[0]
    os.close(watch)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1]
    return os.waitstatus_to_exitcode(status) if ended else None


if __name__ == "__main__":
    imported()
    gc.collect()
    gc.freeze()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(outcome(json.loads(line))) + "\n")
        answers.flush()
