"""The network cut in the middle of each download and each call: taken up again, or left to the next run, never lost."""

import random
import time
import zipfile

import pytest
from services.hub import COMMIT
from services.kaggle import Kaggle
from services.perspective import Perspective, toxicity

from lm_steer.fetch.hub import hub_file
from lm_steer.fetch.kaggle import kaggle_file
from lm_steer.fetch.packages import fetch
from lm_steer.score.registry import make
from lm_steer.score.store import Item, ScoreStore
from lm_steer.util.errors import LMSteerError

CONTENT = random.Random(0).randbytes(3_000_000)
SEEN = "nothing; the transfer goes on where it stopped"


def test_a_package_of_the_registry(registry, publish, row):
    publish("small", "small-1.0-py3-none-any.whl", CONTENT)
    registry.faults = ["cut 1500000", "cut 1200000"]
    begun = time.monotonic()
    assert fetch("small").read_bytes() == CONTENT
    row("network cut twice in the download of a package", SEEN, "nothing", time.monotonic() - begun)


def test_a_file_of_the_hub(hub, row):
    path = hub.folder / "datasets/owner/name/data/some.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    hub.cuts = [40_000]
    begun = time.monotonic()
    assert hub_file("owner/name", "data/some.bin", COMMIT, "or place it by hand").read_bytes() == CONTENT
    row("network cut in a download from the hub", SEEN, "nothing", time.monotonic() - begun)


def test_a_file_of_kaggle(tmp_path, monkeypatch, row):
    stored = tmp_path / "storage/all_data.csv.zip"
    stored.parent.mkdir()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr("all_data.csv", CONTENT)
    monkeypatch.setenv("LM_STEER_DOWNLOADS", str(tmp_path / "downloads"))
    monkeypatch.setenv("LM_STEER_RETRY_SECONDS", "0")
    for variable in ("KAGGLE_API_TOKEN", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with Kaggle({"toxic": {"all_data.csv": stored}}) as kaggle:
        for variable, value in kaggle.variables(tmp_path / "config").items():
            monkeypatch.setenv(variable, value)
        kaggle.cuts = [2_500_000]
        begun = time.monotonic()
        assert kaggle_file("toxic", "all_data.csv").read_bytes() == stored.read_bytes()
        row("network cut in a download from Kaggle", SEEN, "nothing", time.monotonic() - begun)


@pytest.mark.parametrize(("faults", "what"), [(["drop"], "once"), (["drop"] * 1000, "for good")])
def test_a_call_of_perspective(tmp_path, monkeypatch, row, faults, what):
    items = [Item("He said", text) for text in (" you idiot", " what a nice day", " fine", " well")]
    scores = [(toxicity(item.continuation),) for item in items]
    store = ScoreStore(tmp_path / "scores.sqlite")
    with Perspective() as service:
        monkeypatch.setenv("GOOGLE_API_KEY", service.key)
        monkeypatch.setenv("LM_STEER_PERSPECTIVE_URL", service.url)
        monkeypatch.setenv("LM_STEER_RETRY_SECONDS", "0")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        # Two answers arrive before the cut.
        service.faults = [None, None, *faults]
        seen = "nothing; the call is made again"
        if what == "for good":
            with pytest.raises(LMSteerError, match="of 4 texts have no score") as caught:
                store.scores(make("perspective", {"queries_per_second": 1000}).scorer(), items)
            seen = f"“{str(caught.value)[:70]}…”"
        service.faults = []
        asked = len(service.requests)
        begun = time.monotonic()
        assert store.scores(make("perspective", {"queries_per_second": 1000}).scorer(), items) == scores
        if what == "for good":
            assert len(service.requests) - asked == 2, "what was answered is not asked again"
        row(f"network cut {what} in the calls of Perspective", seen, "nothing", time.monotonic() - begun)
