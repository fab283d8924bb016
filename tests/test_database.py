import sqlite3

import pytest

from lm_steer import database
from lm_steer.database import open_database, remove_database


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
