import os
import subprocess
import sys

import pytest
from huggingface_hub import constants
from services.hub import COMMIT

from lm_steer import LMSteerError
from lm_steer.fetch.hub import hub_file

CONTENT = os.urandom(100_000)


@pytest.fixture
def stored(hub) -> None:
    path = hub.folder / "datasets/owner/name/data/some.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)


def fetch(repo: str = "owner/name", file: str = "data/some.bin", revision: str = COMMIT) -> bytes:
    return hub_file(repo, file, revision, "or place it by hand").read_bytes()


@pytest.mark.usefixtures("stored")
def test_a_file_is_fetched_once(hub):
    assert fetch() == CONTENT
    asked = list(hub.requests)
    assert fetch() == CONTENT
    assert hub.transfers == 1 and hub.requests == asked


@pytest.mark.usefixtures("stored")
def test_what_was_fetched_is_found_while_the_hub_is_down(hub, monkeypatch):
    fetch(revision="main")
    hub.statuses = [503] * 20
    assert fetch(revision="main") == CONTENT


@pytest.mark.usefixtures("stored")
def test_failures_of_the_hub_pass(hub):
    hub.statuses = [500, 503]
    assert fetch() == CONTENT


@pytest.mark.usefixtures("stored")
def test_a_transfer_that_is_cut_is_taken_up_again(hub):
    hub.cuts = [40_000]
    assert fetch() == CONTENT
    assert hub.transfers == 2


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"repo": "owner/other"}, "no such repository for this login"),
        ({"file": "data/other.bin"}, "no such file in this revision"),
        ({"revision": "b" * 40}, "no such revision"),
        ({"repo": "not a name"}, "check id and revision"),
    ],
)
@pytest.mark.usefixtures("stored")
def test_what_is_not_there_is_told_at_once(hub, where, message):
    with pytest.raises(LMSteerError, match=message) as caught:
        fetch(**where)
    for part in ({"repo": "owner/name", "file": "data/some.bin", "revision": COMMIT} | where).values():
        assert part in str(caught.value)
    assert "or place it by hand" in str(caught.value)
    assert len(hub.requests) <= 1


@pytest.mark.usefixtures("stored")
def test_terms_that_are_not_accepted_are_told(hub):
    hub.gated = {"datasets/owner/name"}
    with pytest.raises(LMSteerError, match=r"terms are not accepted.*accept them on its page .* HF_TOKEN"):
        fetch()
    assert len(hub.requests) == 1


@pytest.mark.usefixtures("stored")
def test_a_hub_that_keeps_failing_is_given_up(hub):
    hub.statuses = [503] * 40
    with pytest.raises(
        LMSteerError, match=rf"some.bin of owner/name at revision {COMMIT} .*503.*run again, or place it by hand"
    ):
        fetch()
    assert len(hub.requests) > 1 and hub.transfers == 0


@pytest.mark.usefixtures("stored")
def test_a_hub_that_is_down_is_told(monkeypatch):
    # The discard port: nobody listens there.
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}")
    with pytest.raises(LMSteerError, match=r"check the network and run again, or place it by hand"):
        fetch()


@pytest.mark.usefixtures("stored")
def test_offline_is_told_at_once(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(LMSteerError, match="HF_HUB_OFFLINE is set"):
        fetch()
    assert not hub.requests


@pytest.mark.usefixtures("stored")
def test_the_ordinary_variables_of_the_client_point_it_here(hub, tmp_path):
    script = "from lm_steer.fetch.hub import hub_file; print(hub_file('owner/name', 'data/some.bin', 'main', ''))"
    variables = {"HF_ENDPOINT": hub.address, "HF_HUB_CACHE": str(tmp_path / "own")}
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | variables, capture_output=True, text=True)
    path = done.stdout.strip()
    assert path.startswith(str(tmp_path / "own")), done.stderr
    with open(path, "rb") as file:
        assert file.read() == CONTENT
