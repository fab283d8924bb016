"""Measure the cost of planning by the number of jobs: dry runs of the embedded study with more seeds and shards.

python workflow/scripts/dag_growth.py          # prints a table in Markdown, in a few minutes
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Target, seeds and shards.
SIZES = [("data", 1, 1), ("tables", 9, 6), ("tables", 50, 17), ("tables", 100, 47)]


def dry_run(target: str, seeds: int, shards: int) -> tuple[int, float, float]:
    """Return the jobs, CPU seconds, and peak memory in MB of planning a run from scratch."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "snakemake", target, "--dry-run", "--cores", "1", "--quiet", "rules"]
        command += ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(ROOT / "config/config.yaml")]
        command += ["--config", f"seeds={list(range(seeds))}", f"shards={shards}"]
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        printed = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    jobs = re.search(r"^total +(\d+)$", printed, re.MULTILINE)
    if process.returncode or jobs is None:
        sys.exit(printed)
    return int(jobs[1]), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Print the table."""
    print("| jobs | seeds × shards | processor time, s | peak memory, MB |\n|---|---|---|---|")
    for target, seeds, shards in SIZES:
        jobs, seconds, memory = dry_run(target, seeds, shards)
        print(f"| {jobs:,} | {seeds} × {shards} | {seconds:.1f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
