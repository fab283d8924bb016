"""SIGKILL at moments all over every step: no half-written file, and the same command ends with the same bytes."""

import signal
import time

import pytest
from faulty import STEPS, forget, killed, made, run, temporary

CASES = [
    *(pytest.param(step, 2, id=step) for step in STEPS),
    *(pytest.param(step, 14, id=f"{step} often", marks=pytest.mark.soak) for step in STEPS),
]


@pytest.mark.parametrize(("step", "kills"), CASES)
def test_a_step_that_is_killed_goes_on(step, kills, folder, reference, row):
    whole = made(reference.folder, step)
    forget(folder, step)
    cut = 0
    for number in range(kills):
        # The first is never missed: a later one may be, for what is done is not done again.
        code, _ = killed(folder, step, 1 + reference.moments[step] * number // kills)
        assert code in (0, -signal.SIGKILL)
        cut += code != 0
        # What is there is whole, each file of it.
        assert made(folder, step).items() <= whole.items()
    assert cut
    begun = time.monotonic()
    done = run(folder, step)
    seconds = time.monotonic() - begun
    assert done.returncode == 0, done.stderr
    assert made(folder, step) == whole and not temporary(folder)
    seen = f"nothing; {cut} of the kills came before its end"
    row(f"SIGKILL, {kills} times, at moments all over `{step}`", seen, "nothing", seconds)
