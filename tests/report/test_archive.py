"""A run that is published and taken in again, and archives that nobody should trust."""

import json
import stat
import zipfile
from hashlib import sha256

import pytest
import tiny

from lm_steer.report.archive import fetch, publish
from lm_steer.util.errors import LMSteerError


@pytest.fixture
def run(make_results, study_of):
    """A run with a steer, and things beside it that are not published."""
    results = make_results(study_of())
    study_of().write(results / "study.json")
    for name in study_of().steers:
        tiny.make_steer(tiny.make_model("gpt2")).save_pretrained(results / f"steers/tiny/{name}/seed0")
    (results / ".cache").mkdir(exist_ok=True)
    (results / ".cache/scores.json").write_text("{}")
    return results


def test_a_published_run_comes_back_with_cards_and_nothing_else(run, tmp_path):
    count = publish(run, tmp_path / "run.zip")
    assert fetch(tmp_path / "run.zip", tmp_path / "published") == count
    published = {path.relative_to(tmp_path / "published").as_posix(): path for path in tmp_path.rglob("published/**/*")}
    for name, path in published.items():
        if path.is_file() and name != "archive.json" and path.name != "README.md":
            assert path.read_bytes() == (run / name).read_bytes()
    assert "study.json" in published and any(name.startswith("scores/") for name in published)
    card = published["steers/tiny/detox/seed0/README.md"].read_text(encoding="utf-8")
    assert "# detox" in card and "| Mild |" in card and "| Glad |" not in card
    assert not any(".cache" in name for name in published)
    assert (tmp_path / "run.zip").stat().st_size < sum(path.stat().st_size for path in published.values()) / 2


def test_the_same_run_has_the_same_bytes(run, tmp_path):
    for name in ("one.zip", "other.zip"):
        publish(run, tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(LMSteerError, match=r"study\.json: no such file"):
        publish(tmp_path, tmp_path / "run.zip")
    assert not (tmp_path / "run.zip").exists()


def packed(path, files, listed=None, mode=None):
    """Write an archive whose record is true of these files, or of others."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files:
            info = zipfile.ZipInfo(name)
            info.external_attr = (mode or 0o644) << 16
            archive.writestr(info, content)
        sums = {name: sha256(content).hexdigest() for name, content in files} if listed is None else listed
        archive.writestr("archive.json", json.dumps({"files": sums}))
    return path


@pytest.mark.parametrize(
    "name",
    ["../study.json", "/tmp/study.json", "tables/../../x.csv", "tables\\..\\x.csv", "tables/a.pkl", "tables/a.py",
     "C:/tables/a.csv", "models/a.json", "tables/.hidden.csv", "tables//a.csv", "steers/a.safetensors\n"],
)  # fmt: skip
def test_a_path_or_a_format_that_is_no_data_of_a_run_is_refused(tmp_path, name):
    archive = packed(tmp_path / "run.zip", [("study.json", b"{}"), (name, b"1")])
    with pytest.raises(LMSteerError, match="is not a file of a run"):
        fetch(archive, tmp_path / "inner/out")
    assert not (tmp_path / "inner").exists() and {path.name for path in tmp_path.iterdir()} == {"run.zip"}


@pytest.mark.parametrize(
    "files, listed, message",
    [
        ([("study.json", b"{}")], {"study.json": "0" * 64}, "differs from the published file"),
        ([("study.json", b"{}")], {}, "does not hold the files that its archive.json lists"),
        ([], {"study.json": "0" * 64}, "does not hold the files that its archive.json lists"),
        ([("study.json", b"{}"), ("tables", b""), ("tables/a.csv", b"")], None, "is not a file of a run"),
        ([("study.json", b"{}")], {"study.json": 1}, "archive.json, files"),
    ],
)
def test_an_archive_that_is_not_what_its_record_says_is_refused(tmp_path, files, listed, message):
    with pytest.raises(LMSteerError, match=message):
        fetch(packed(tmp_path / "run.zip", files, listed), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"run.zip"}


def test_a_link_is_unpacked_as_the_text_it_is(tmp_path):
    archive = packed(tmp_path / "run.zip", [("tables/a.csv", b"/etc/passwd")], mode=stat.S_IFLNK | 0o777)
    fetch(archive, tmp_path / "out")
    assert not (tmp_path / "out/tables/a.csv").is_symlink()


def test_what_is_no_archive_is_said(tmp_path):
    (tmp_path / "run.zip").write_bytes(b"PK no")
    with pytest.raises(LMSteerError, match=r"run\.zip is not an archive of a run"):
        fetch(tmp_path / "run.zip", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.csv", "")
    with pytest.raises(LMSteerError, match=r"it has no archive\.json"):
        fetch(tmp_path / "other.zip", tmp_path / "out")
