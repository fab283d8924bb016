"""The real client against the stand-in; each run of it takes about a second."""

import json
import random
import zipfile
from pathlib import Path

import pytest
from services.kaggle import KEY, TOKEN, USER, Kaggle

from lm_steer import LMSteerError
from lm_steer.fetch import download
from lm_steer.fetch.kaggle import kaggle_file

NAME = "toxic"


@pytest.fixture
def stored(tmp_path) -> Path:
    path = tmp_path / "storage/all_data.csv.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("all_data.csv", random.Random(0).randbytes(3_000_000))
    return path


@pytest.fixture
def kaggle(stored, tmp_path, monkeypatch):
    with Kaggle({NAME: {"all_data.csv": stored}}) as server:
        monkeypatch.setenv("LM_STEER_DOWNLOADS", str(tmp_path / "downloads"))
        monkeypatch.setenv("LM_STEER_RETRY_SECONDS", "0")
        for variable in ("KAGGLE_API_TOKEN", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(variable, raising=False)
        for variable, value in server.variables(tmp_path / "config").items():
            monkeypatch.setenv(variable, value)
        yield server


@pytest.fixture
def two_tries(monkeypatch) -> None:
    monkeypatch.setattr(download, "TRIES", 2)


def refusal(file: str = "all_data.csv") -> str:
    with pytest.raises(LMSteerError) as caught:
        kaggle_file(NAME, file)
    message = str(caught.value)
    assert "\n" not in message and f"place {file} or {file}.zip in " in message
    return message


def test_a_file_is_fetched_once(kaggle, stored, tmp_path):
    path = kaggle_file(NAME, "all_data.csv")
    assert path == tmp_path / "downloads" / NAME / "all_data.csv.zip" and path.read_bytes() == stored.read_bytes()
    assert kaggle_file(NAME, "all_data.csv") == path
    assert len(kaggle.starts) == 1


def test_a_token_is_a_login(kaggle, stored, monkeypatch):
    for variable in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    assert kaggle_file(NAME, "all_data.csv").read_bytes() == stored.read_bytes()


@pytest.mark.parametrize("file", ["all_data.csv", "all_data.csv.zip"])
def test_a_file_put_there_by_hand_needs_no_login(kaggle, tmp_path, file):
    path = tmp_path / "downloads" / NAME / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    assert kaggle_file(NAME, "all_data.csv") == path
    assert not kaggle.requests


def test_a_transfer_that_is_cut_is_taken_up_again(kaggle, stored):
    kaggle.cuts = [2_500_000]
    assert kaggle_file(NAME, "all_data.csv").read_bytes() == stored.read_bytes()
    assert kaggle.starts[0] == 0 < kaggle.starts[1]


def test_the_next_run_goes_on_where_a_killed_one_stopped(kaggle, stored, tmp_path):
    """What a killed client leaves: a part of the file, and a note of which file it is."""
    content, partial = stored.read_bytes(), tmp_path / "downloads" / NAME / "partial"
    partial.mkdir(parents=True)
    (partial / "all_data.csv.zip").write_bytes(content[:50_000])
    note = {"validator": f'"{len(content):x}"', "size": len(content)}
    (partial / "all_data.csv.zip.kaggle-partial").write_text(json.dumps(note))
    assert kaggle_file(NAME, "all_data.csv").read_bytes() == content
    # The client asks for the whole, looks at its headers, and asks again for the rest.
    assert kaggle.starts[-1] == 50_000


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"KAGGLE_USERNAME": "", "KAGGLE_KEY": ""}, "found none"),
        ({"KAGGLE_KEY": "wrong"}, "found KAGGLE_USERNAME, KAGGLE_KEY"),
    ],
)
def test_a_login_that_is_missing_or_wrong_is_told(kaggle, monkeypatch, variables, found):
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value) if value else monkeypatch.delenv(variable)
    message = refusal()
    assert f"Kaggle accepts no login from here ({found}): set KAGGLE_API_TOKEN" in message
    assert USER not in message and KEY not in message and "wrong" not in message
    assert len(kaggle.requests) <= 1


@pytest.mark.parametrize("messages", [False, True])
def test_rules_that_are_not_accepted_are_told_at_once(kaggle, messages):
    kaggle.closed, kaggle.messages = {NAME}, messages
    assert f"accept its rules on https://www.kaggle.com/competitions/{NAME}/rules" in refusal()
    assert [status for _, status in kaggle.requests] == [403]


@pytest.mark.parametrize("messages", [False, True])
def test_a_file_that_is_not_there_is_told_at_once(kaggle, messages):
    kaggle.messages = messages
    assert f"Kaggle has no none.csv in the competition {NAME}" in refusal("none.csv")
    assert [status for _, status in kaggle.requests] == [404]


def test_too_many_requests_pass(kaggle, stored):
    kaggle.statuses = [429, 503]
    assert kaggle_file(NAME, "all_data.csv").read_bytes() == stored.read_bytes()


@pytest.mark.usefixtures("two_tries")
def test_too_many_requests_are_given_up_in_the_end(kaggle):
    kaggle.statuses = [429] * 9
    message = refusal()
    assert "429" in message and "wait a few minutes and run again" in message
    assert [status for _, status in kaggle.requests] == [429, 429]


@pytest.mark.usefixtures("two_tries")
def test_a_zip_that_comes_short_is_fetched_again(kaggle, stored):
    kaggle.truncated = [150_000]
    assert kaggle_file(NAME, "all_data.csv").read_bytes() == stored.read_bytes()


@pytest.mark.usefixtures("two_tries")
def test_a_zip_that_is_short_at_its_origin_is_refused_and_not_kept(kaggle, tmp_path):
    kaggle.truncated = [150_000] * 9
    assert "all_data.csv.zip is a truncated zip" in refusal()
    assert not list((tmp_path / "downloads").rglob("*.zip"))


def test_a_line_number_of_a_traceback_is_no_status(monkeypatch, tmp_path):
    words = 'Traceback (most recent call last):\n  File "a.py", line 404, in b\nCut: short'
    monkeypatch.setattr(download, "TRIES", 1)
    monkeypatch.setenv("LM_STEER_DOWNLOADS", str(tmp_path))
    monkeypatch.setattr("lm_steer.fetch.kaggle._run", lambda arguments, folder: (1, words))
    assert "could not be downloaded from Kaggle (Cut: short)" in refusal()


def test_a_service_that_is_down_is_told(kaggle, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 1)
    # The discard port: nobody listens there.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    message = refusal()
    assert "could not be downloaded from Kaggle" in message and "Connection" in message
