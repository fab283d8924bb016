"""A run that was killed leaves locks, which the next run takes away or names."""

from pathlib import Path

PROMPTS = "results/prompts/few.jsonl"


def leave_locked(project: Path, owner: str) -> Path:
    """Leave what a run of `owner` leaves when it is killed: its own record and Snakemake's lock."""
    lock = project / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text(f"{PROMPTS}\n", encoding="utf-8")
    (project / ".snakemake/run.lock").write_text(owner, encoding="utf-8")
    return lock


def test_a_lock_that_may_be_of_a_run_at_work_stays_until_it_is_unlocked(project, snakemake):
    lock = leave_locked(project, "elsewhere 1 1.0")
    printed = snakemake(PROMPTS, succeeds=False).stdout
    assert "This folder is locked by process 1 on elsewhere: if that has ended, run `snakemake --unlock`" in printed
    assert "cannot be locked" in printed and "Traceback" not in printed and lock.exists()
    snakemake("--unlock")
    assert not lock.exists()
    snakemake(PROMPTS)
    assert (project / PROMPTS).exists()
