"""Hostile use: nothing is lost, nothing is silently wrong, no traceback, and one sentence for people.

python -m hostile.arena [words …]          # in tests/: a table of verdicts, and what is not good

Each case (cases.py) runs as a process of its own in a copy of one small world. A test run takes a twelfth of them, the
same at any time; `make soak` takes all.
"""

from collections.abc import Iterator

import pytest
from hostile.arena import GOOD, Arena, one_in
from hostile.table import CASES

SHARE = 12


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with Arena(tmp_path_factory.mktemp("arena")) as made:
        yield made


OFTEN = one_in(SHARE, CASES)
SELDOM = [case for case in CASES if case not in OFTEN]


@pytest.mark.parametrize("case", OFTEN, ids=lambda case: case.name)
def test_a_hostile_use_ends_well(arena, case):
    found = arena.judge(case)
    assert found.verdict == GOOD, f"{found.verdict}: {found.why}\n{case.before}\n{found.printed}"


@pytest.mark.soak
@pytest.mark.parametrize("case", SELDOM, ids=lambda case: case.name)
def test_any_other_hostile_use_ends_well(arena, case):
    found = arena.judge(case)
    assert found.verdict == GOOD, f"{found.verdict}: {found.why}\n{case.before}\n{found.printed}"
