import sqlite3
from pathlib import Path

import pytest

from lm_steer.util import database
from lm_steer.util.database import is_damage, open_database, remove_database


@pytest.mark.parametrize(("local", "mode"), [(True, "wal"), (False, "delete")])
def test_the_journal_fits_the_file_system(tmp_path, monkeypatch, local, mode):
    monkeypatch.setattr(database, "is_local", lambda folder: local)
    connection = open_database(tmp_path / "new/one.sqlite")
    assert connection.execute("PRAGMA journal_mode").fetchone() == (mode,)


def test_a_damaged_file_is_an_error_and_can_be_removed(tmp_path):
    path = tmp_path / "one.sqlite"
    path.write_bytes(b"noise" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        open_database(path)
    remove_database(path)
    assert not list(tmp_path.iterdir())
    open_database(path).execute("CREATE TABLE things (name TEXT)")


@pytest.fixture
def spoilt(tmp_path) -> Path:
    """A file that opens, and whose middle is noise."""
    path = tmp_path / "spoilt.sqlite"
    database = open_database(path)
    database.execute("CREATE TABLE states (key BLOB PRIMARY KEY, state BLOB NOT NULL)")
    rows = [(bytes([number % 256, number // 256]), bytes(2000)) for number in range(500)]
    database.executemany("INSERT INTO states VALUES (?, ?)", rows)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"noise" * ((len(content) - 8192) // 5))
    return path


def test_damage_behind_the_head_of_a_file_is_told_from_other_errors(spoilt):
    database = open_database(spoilt)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        database.execute("SELECT sum(length(state)) FROM states").fetchone()
    assert is_damage(caught.value)
    with pytest.raises(sqlite3.OperationalError) as caught:
        database.execute("SELECT * FROM nothing")
    assert not is_damage(caught.value)
