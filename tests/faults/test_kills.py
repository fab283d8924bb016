"""SIGKILL at random moments of every step: no half-written file, and the same command ends with the same bytes."""

import random
import shutil
import time

import pytest
from faulty import SEED, STEPS, made, run, start

CASES = [
    *(pytest.param(step, 2, id=step) for step in STEPS),
    *(pytest.param(step, 14, id=f"{step} often", marks=pytest.mark.soak) for step in STEPS),
]


@pytest.mark.parametrize(("step", "kills"), CASES)
def test_a_step_that_is_killed_goes_on(step, kills, folder, reference, row):
    choose = random.Random(f"{SEED} {step} {kills}")
    print(f"seed {SEED}, {step}, {kills} kills")
    whole = made(reference.folder, step)
    for name in STEPS[step][1]:
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
    shutil.rmtree(folder / "cache", ignore_errors=True)
    cut = 0
    for _ in range(kills):
        process = start(folder, step)
        time.sleep(choose.uniform(0.2, 1) * reference.seconds[step])
        process.kill()
        cut += process.wait() != 0
        # What is there is whole, each file of it.
        assert made(folder, step).items() <= whole.items()
    begun = time.monotonic()
    done = run(folder, step)
    seconds = time.monotonic() - begun
    assert done.returncode == 0, done.stderr
    assert made(folder, step) == whole
    seen = f"nothing; {cut} of the kills came before its end"
    row(f"SIGKILL, {kills} times, at random moments of `{step}`", seen, "nothing", seconds)
