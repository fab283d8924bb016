import subprocess
import sys

import pytest

from lm_steer import LMSteerError
from lm_steer.fetch.download import fetched, locked

# `git hash-object` of a file with this content.
CONTENT, BLOB = b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"


def fetch(registry) -> bytes:
    return fetched("a.txt", f"git blob id:{BLOB}", lambda: f"{registry.files_url}/a.txt").read_bytes()


def test_a_file_is_known_by_the_id_of_its_git_blob(registry):
    (registry.folder / "a.txt").write_bytes(CONTENT)
    assert fetch(registry) == CONTENT


def test_a_file_with_another_blob_id_is_refused(registry, tmp_path):
    (registry.folder / "a.txt").write_bytes(b"hullo\n")
    with pytest.raises(LMSteerError, match=f"expected git blob id {BLOB}, found [0-9a-f]{{40}}"):
        fetch(registry)
    assert not (tmp_path / "downloads/a.txt").exists()


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path):
    other = (
        "import sys; from pathlib import Path; from lm_steer.fetch.download import locked\n"
        "with locked(Path(sys.argv[1])): print('in')"
    )
    with locked(tmp_path):
        process = subprocess.Popen([sys.executable, "-c", other, tmp_path], stdout=-1, stderr=-1, text=True)
        assert "waiting for another process" in process.stderr.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
    assert process.communicate(timeout=30)[0] == "in\n"
