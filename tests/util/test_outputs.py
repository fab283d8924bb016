"""What may be written, and that nothing else is ever changed."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from folders import make_folder, state

from lm_steer import LMSteerError
from lm_steer.report.figures.style import standalone
from lm_steer.util.files import replacing, write_json
from lm_steer.util.outputs import ADAPTER, DATA, EXPORT, FIGURES, GROUND, JUDGE, MODEL, STEER, temporary_of, writable

KINDS = {"MODEL": MODEL, "EXPORT": EXPORT, "STEER": STEER, "ADAPTER": ADAPTER, "DATA": DATA, "JUDGE": JUDGE}
KINDS |= {"FIGURES": FIGURES, "a file": None}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    """A working directory with a person's files in it."""
    (tmp_path / "here" / "docs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    for name in ("notes.txt", "docs/notes.txt"):
        Path(name).write_text("mine")
    return tmp_path


def write(path: object, kind: tuple[str, ...] | None) -> None:
    with replacing(path, kind) as temporary:
        if kind:
            temporary.mkdir()
        (temporary / "new" if kind else temporary).write_text("new")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["", ".", "..", "../..", "/", "docs/..", "../here", "link to here", "docs"])
def test_folders_of_others_are_never_replaced(place, path, kind):
    os.symlink(".", "link to here")
    before = state(place)
    with pytest.raises(LMSteerError):
        write(path, KINDS[kind])
    assert state(place) == before


@pytest.mark.parametrize("kind", ["STEER", "a file"])
def test_special_files_and_links_to_nothing_are_refused(place, kind):
    os.mkfifo("pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")
    os.symlink("nowhere", "dangling")
    os.symlink("loop", "loop")
    os.symlink("/dev/null", "to a device")
    before = state(place)
    for path in ("pipe", "socket", "dangling", "dangling/out", "loop", "/dev/null", "/dev/full", "to a device"):
        with pytest.raises(LMSteerError):
            write(path, KINDS[kind])
    server.close()
    assert state(place) == before and not Path("nowhere").exists()


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("notes.txt", MODEL, "notes.txt is a file: name a folder"),
        ("docs", None, "docs is a folder: name a file"),
        ("docs", MODEL, "docs contains notes.txt, which this command does not write: choose a new or empty folder"),
        ("notes.txt/out", None, "notes.txt/out is in .*notes.txt, which is not a folder"),
        ("", MODEL, ". is the working directory or a parent of it"),
        ("x" * 300, None, "is too long for a file name"),
    ],
)
def test_a_refusal_says_what_is_wrong(path, kind, words):
    with pytest.raises(LMSteerError, match=words):
        writable(path, kind)


def test_a_read_only_file_or_folder_is_refused(monkeypatch):
    # Root may write everywhere: the system's answer is given in its place.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "docs")
    for path in ("docs", "docs/out", "docs/deep/out"):
        with pytest.raises(LMSteerError, match=r"cannot be written because .*docs is read-only"):
            writable(path)


def test_a_file_is_replaced_and_a_link_followed():
    os.symlink("docs/notes.txt", "link")
    for path in ("notes.txt", "link"):
        write(path, None)
    assert Path("notes.txt").read_text() == Path("docs/notes.txt").read_text() == "new"
    assert Path("link").is_symlink()


def test_the_target_of_a_linked_folder_is_replaced():
    make_folder("elsewhere", *JUDGE)
    os.symlink("elsewhere", "judge")
    write("judge", JUDGE)
    assert Path("judge").is_symlink() and os.listdir("elsewhere") == ["new"]


OWN = {
    "MODEL": ["lm_steer_model.json", "config.json", "model.safetensors", "deep/vocab.json", "any name"],
    "EXPORT": ["lm_steer_export.json", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"],
    "STEER": ["steer.safetensors", "steer_config.json", "training.jsonl"],
    "ADAPTER": ["adapter_config.json", "adapter_model.safetensors", "README.md"],
    "DATA": ["train.parquet", "dev.parquet", "test.parquet", "counts.json"],
    "JUDGE": ["vocabulary.txt", "judge.safetensors", "judge.json"],
    "FIGURES": ["a.svg", "b.svg"],
}


def own_folder(kind: str) -> Path:
    """A folder as a command makes it, and Snakemake marks it."""
    folder = make_folder("out", *OWN[kind], content=f"<svg>{GROUND.decode()}" if kind == "FIGURES" else "{}")
    if kind in ("MODEL", "EXPORT"):
        write_json(folder / OWN[kind][0], {"files": dict.fromkeys(OWN[kind][1:], "its sha256")})
    return make_folder("out", ".snakemake_timestamp")


@pytest.mark.parametrize("kind", OWN)
def test_a_folder_of_the_same_kind_is_replaced_and_an_empty_one(kind):
    own_folder(kind)
    Path("empty").mkdir()
    for folder in ("out", "empty"):
        write(folder, KINDS[kind])
        assert os.listdir(folder) == ["new"]
    assert sorted(os.listdir()) == ["docs", "empty", "notes.txt", "out"]


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("other", ["notes.txt", ".hidden", "deep/er/notes.txt"])
def test_one_file_of_others_keeps_a_folder(place, kind, other):
    own_folder(kind)
    make_folder("out", other)
    before = state(place)
    with pytest.raises(LMSteerError, match="out contains"):
        write("out", KINDS[kind])
    assert state(place) == before


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("MODEL", OWN["MODEL"][1:]),
        ("EXPORT", OWN["EXPORT"][1:]),
        ("DATA", ["train.parquet", "dev.parquet", "test.parquet"]),
        ("FIGURES", ["a drawing of mine.svg"]),
    ],
)
def test_files_that_only_have_the_right_names_are_those_of_others(place, kind, files):
    make_folder("out", *files)
    before = state(place)
    with pytest.raises(LMSteerError, match="out contains"):
        write("out", KINDS[kind])
    assert state(place) == before


@pytest.mark.parametrize("content", ["", "[]", "null", '{"files": 5}', '{"files": [5]}', "{" * 100_000])
def test_a_damaged_record_makes_nothing_replaceable(place, content):
    make_folder("out", "config.json")
    make_folder("out", "lm_steer_model.json", content=content)
    with pytest.raises(LMSteerError, match="out contains config"):
        writable("out", MODEL)


def test_figures_are_known_by_their_ground(tmp_path):
    assert GROUND.decode() in standalone("<svg></svg>")


def test_what_appears_in_the_folder_meanwhile_is_kept(place):
    with pytest.raises(LMSteerError, match="out contains notes"), replacing("out", MODEL) as temporary:
        temporary.mkdir()
        make_folder("out", "notes.txt")
    assert state(Path("out")) == {"notes.txt": b"{}"}
    assert sorted(os.listdir()) == ["docs", "notes.txt", "out"]


def test_the_old_folder_is_back_where_the_new_one_cannot_take_its_place():
    make_folder("judge", *JUDGE)
    with pytest.raises(FileNotFoundError), replacing("judge", JUDGE):
        pass
    assert sorted(os.listdir("judge")) == sorted(JUDGE) and sorted(os.listdir()) == ["docs", "judge", "notes.txt"]


def test_standard_output_is_written_as_it_is(capfdbinary):
    write_json("/dev/stdout", {"a": "é"})
    assert json.loads(capfdbinary.readouterr().out) == {"a": "é"}
    assert Path("/dev/stdout").is_symlink()


# --- what a killed process leaves behind -----------------------------------------------------------------

KILLED = """
import os, signal
from lm_steer.util.files import replacing
with replacing("out.jsonl") as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_goes_with_the_next_run():
    subprocess.run([sys.executable, "-c", KILLED], check=False)
    assert len(list(Path().glob(".out.jsonl.*.part"))) == 1
    write("other.jsonl", None)
    assert len(list(Path().glob(".*.part"))) == 1
    write("out.jsonl", None)
    assert sorted(os.listdir()) == ["docs", "notes.txt", "other.jsonl", "out.jsonl"]


def test_a_folder_that_was_being_replaced_goes_too():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for what in ("new", "old"):
        left = temporary_of(Path("judge"), what).name.replace(f"-{os.getpid()}.", f"-{ended.pid}.")
        make_folder(left, "judge.json")
    write("judge", JUDGE)
    assert sorted(os.listdir()) == ["docs", "judge", "notes.txt"]


def test_what_others_are_still_writing_stays():
    mine = temporary_of(Path("out").absolute()).name
    others = [
        mine.replace(f"-{os.getpid()}.", f"-{os.getppid()}."),
        mine.replace(f"-{os.getpid()}.", "-elsewhere-999999999."),
        ".out.new.part",
    ]
    for name in others:
        Path(name).write_text("theirs")
    write("out", None)
    assert {*others} < {*os.listdir()}
