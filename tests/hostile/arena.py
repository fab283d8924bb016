"""Run hostile cases and judge their outcomes.

python -m hostile.arena [words] [--share 12]         # a table of verdicts by group, and what is not good
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from hostile.cases import FINE, REFUSED, Case
from hostile.worker import WRONG

TESTS = Path(__file__).parents[1]
GOOD, POOR, TRACEBACK, SILENT, DESTROYS = VERDICTS = ("good", "poor message", "traceback", "silent", "destroys")
# Words of Python or a library, which mean nothing to a user.
PYTHONS = re.compile(
    r"'NoneType'|has no attribute|not subscriptable|invalid literal|could not convert|unhashable|codec can't"
    r"|error: .Errno"
    r"|KeyError|TypeError|ValueError|Error\(|<class|unexpected keyword|list index|not iterable|must be real number"
    r"|torch\.|0x[0-9a-f]{8}|positional argument|nan is not a valid"
)
OPENING = "\nerror: "


@dataclass(frozen=True)
class Verdict:
    """The verdict on a case, the reason for it, and what was printed."""

    case: Case
    verdict: str
    why: str
    printed: str


class Arena:
    """A worker process, and a world that is copied for each case."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.world = folder, folder / "world"
        # Whether the folder of the last case is still a copy of the world.
        self.untouched = False
        python = os.pathsep.join([str(TESTS), str(TESTS.parent)])
        nowhere = {name: "http://127.0.0.1:9" for name in ("HF_ENDPOINT", "PIP_INDEX_URL")}
        variables = {
            "PYTHONPATH": python,
            "HOME": str(folder / "home"),
            "XDG_CACHE_HOME": str(folder / "xdg"),
            "LM_STEER_RETRY_SECONDS": "0",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
            **nowhere,
        }
        self.worker = subprocess.Popen(
            [sys.executable, "-m", "hostile.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | variables,
            text=True,
        )
        self.world.mkdir(parents=True)
        made = self._ask(Case("world", "py:world.build(Path.cwd())", seconds=120))
        assert made.get("code") == 0, made
        shutil.move(folder / "case/outer/work", self.world / "work")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.stdin.close()
        self.worker.wait()

    def judge(self, case: Case) -> Verdict:
        """Run a case in a copy of the world."""
        return judged(case, self._ask(case))

    def _ask(self, case: Case) -> dict[str, Any]:
        root = self.folder / "case"
        if not self.untouched:
            self._lay_out(root)
        self.worker.stdin.write(json.dumps({**asdict(case), "root": str(root)}) + "\n")
        self.worker.stdin.flush()
        found = json.loads(self.worker.stdout.readline())
        self.untouched = not case.before and not found.get("changes", True)
        return found

    def _lay_out(self, root: Path) -> None:
        """Put a fresh copy of the world where the next case takes place."""
        shutil.rmtree(root, ignore_errors=True)
        work = root / "outer/work"
        work.parent.mkdir(parents=True)
        (root / "outer/neighbour.txt").write_text("not part of the work")
        shutil.copytree(self.world / "work", work) if (self.world / "work").exists() else work.mkdir()


def judged(case: Case, found: dict[str, Any]) -> Verdict:
    """Judge the outcome of a case."""
    assert "broken" not in found, f"{case.name}: the case itself is wrong:\n{found['broken']}"
    verdict, why = _verdict(case, found)
    return Verdict(
        case,
        verdict,
        why,
        f"{found['took']} s, exit {found['code']}\n{found['stdout'][-300:]}\n{found['stderr'][-1500:]}",
    )


def _verdict(case: Case, found: dict[str, Any]) -> tuple[str, str]:
    code, told = found["code"], found["stderr"]
    outside = {path: what for path, what in found["changes"].items() if not _may_change(path, case)}
    harmed = {path: what for path, what in outside.items() if what != "new"}
    if harmed:
        return DESTROYS, f"{len(harmed)} paths, as {next(iter(harmed.items()))}"
    if code is None:
        return TRACEBACK, "it hangs"
    if "Traceback (most recent call last)" in told or "a fault of lm-steer itself" in told or code < 0:
        return TRACEBACK, (told.strip().splitlines() or [f"signal {-code}"])[-1][:300]
    left = outside if code == 0 else {path: what for path, what in found["changes"].items() if not _is_cache(path)}
    if left:
        return DESTROYS, f"leaves {next(iter(left.items()))} with exit code {code}"
    if code == 0 and case.expect == REFUSED:
        return SILENT, "nothing is said"
    if WRONG in told:
        return SILENT, told[told.index(WRONG) :].splitlines()[0]
    if code != 0 and case.expect == FINE:
        return SILENT, f"it should work: {told.strip()[-300:]}"
    return (GOOD, "") if code == 0 else _message(case, code, told)


def _message(case: Case, code: int, told: str) -> tuple[str, str]:
    """Judge the words of a refusal: `error: …` in one sentence, or a usage error of the command line."""
    error = re.sub(r"[\s│╭╰─╮╯]+", " ", told)
    if code != 2:
        told = "\n" + told
        if told.count(OPENING) != 1:
            return POOR, f"{told.count(OPENING)} errors for people: {told.strip()[-300:]}"
        error = told[told.index(OPENING) + 1 :]
        if error.strip().count("\n") and not error.startswith("error: the config"):
            return POOR, f"several lines: {error.strip()[:400]}"
    if PYTHONS.search(error):
        return POOR, f"Python's own words ({PYTHONS.search(error)[0]}): {error.strip()[:300]}"
    if len(error) > 1200:
        return POOR, f"{len(error)} letters: {error.strip()[:300]}"
    if case.says and not re.search(case.says, error, re.I):
        return POOR, f"does not say {case.says!r}: {error.strip()[:300]}"
    return GOOD, ""


def _may_change(path: str, case: Case) -> bool:
    inside = path.removeprefix("outer/work/")
    return _is_cache(path) or (inside != path and any(inside.startswith(one) for one in case.makes.split()))


def _is_cache(path: str) -> bool:
    """Whether a path is of what can be computed again, or a folder on the way to it."""
    return path in ("outer/work/results", "outer/work/shared") or bool(
        re.match(r"outer/work/(results/\.cache|cache|out-cache)(/|$)", path)
    )


def table(verdicts: list[Verdict]) -> str:
    """Return the number of cases by group and verdict, in Markdown."""
    groups = list(dict.fromkeys(one.case.group for one in verdicts))
    counts = Counter((one.case.group, one.verdict) for one in verdicts)
    total = Counter(one.verdict for one in verdicts)
    rows = ["| group | " + " | ".join(VERDICTS) + " | all |", "|---" * (len(VERDICTS) + 2) + "|"]
    for group in groups:
        numbers = [counts[group, verdict] for verdict in VERDICTS]
        rows.append(f"| {group} | " + " | ".join(map(str, [*numbers, sum(numbers)])) + " |")
    numbers = [total[verdict] for verdict in VERDICTS]
    rows.append("| all | " + " | ".join(map(str, [*numbers, sum(numbers)])) + " |")
    return "\n".join(rows)


def one_in(share: int, cases: Iterable[Case]) -> list[Case]:
    """Choose one case of `share`, by the hash of what it is: a new case changes no other's turn."""
    return [case for case in cases if int(hashlib.sha256(repr(case).encode()).hexdigest(), 16) % share == 0]


if __name__ == "__main__":
    from hostile.table import CASES

    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    parser.add_argument("--share", type=int, default=1)
    asked = parser.parse_args()
    verdicts = []
    with tempfile.TemporaryDirectory() as scratch, Arena(Path(scratch)) as arena:
        for one in one_in(asked.share, CASES):
            if all(word in one.name for word in asked.words):
                verdicts.append(arena.judge(one))
                print(f"{verdicts[-1].verdict}: {one.name}", file=sys.stderr, flush=True)
    print(table(verdicts))
    for one in sorted(verdicts, key=lambda one: VERDICTS.index(one.verdict), reverse=True):
        if one.verdict != GOOD:
            print(f"\n### {one.verdict}: {one.case.name}\n{one.why}\n```\n{one.case.before}\n{one.printed}\n```")
