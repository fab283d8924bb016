"""The undisturbed run that faults are measured against, and the table of faults."""

import os
import shutil
from pathlib import Path

import pytest
from faulty import COMMAND, Reference, Row, make_reference, table


@pytest.fixture(scope="session")
def reference(tmp_path_factory) -> Reference:
    return make_reference(tmp_path_factory.mktemp("reference"))


@pytest.fixture(autouse=True)
def commands_at_once(request, monkeypatch) -> None:
    """Let `lm-steer` start at once, unless it is for the table, which says how long a start takes."""
    written = "LM_STEER_FAULT_TABLE" in os.environ
    first = Path(COMMAND).parent if written else request.getfixturevalue("commands")
    monkeypatch.setenv("PATH", os.pathsep.join([str(first), os.environ["PATH"]]))


@pytest.fixture
def folder(tmp_path, reference) -> Path:
    """A copy of everything that the undisturbed run had and made."""
    return shutil.copytree(reference.folder, tmp_path / "study")


@pytest.fixture(scope="session")
def row() -> Row:
    """Return a function that notes a row of the table, which is written where LM_STEER_FAULT_TABLE names a file."""
    rows: list[tuple[str, str, str, float]] = []

    def note(fault: str, seen: str, lost: str, seconds: float) -> None:
        rows.append((fault, seen, lost, seconds))
        if path := os.environ.get("LM_STEER_FAULT_TABLE"):
            Path(path).write_text(table(rows), encoding="utf-8")

    return note
