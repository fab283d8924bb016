import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import save_file

from lm_steer import LMSteerError
from lm_steer.util.files import fingerprint, read_json, read_jsonl, read_text, replacing, require_space, write_jsonl
from lm_steer.util.outputs import JUDGE


class Broken(Exception):
    pass


def test_replacing_leaves_the_old_file_and_nothing_else_on_failure(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(Broken), replacing(path) as temporary:
        temporary.write_text("half")
        raise Broken
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_threads_write_one_path_one_after_the_other(tmp_path):
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: write_jsonl(tmp_path / "out.jsonl", [{"number": number}] * 99), range(60)))
    rows = read_jsonl(tmp_path / "out.jsonl")
    assert len(rows) == 99 and len({row["number"] for row in rows}) == 1


def test_replacing_leaves_the_old_folder_and_nothing_else_on_failure(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "judge.json").write_text("old")
    with pytest.raises(Broken), replacing(folder, JUDGE) as temporary:
        temporary.mkdir()
        (temporary / "half").write_text("half")
        raise Broken
    assert os.listdir(tmp_path) == ["out"] and os.listdir(folder) == ["judge.json"]


def test_nothing_is_at_the_path_before_the_block_ends(tmp_path):
    with replacing(tmp_path / "deep" / "out.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "deep" / "out.txt").exists()
    assert os.listdir(tmp_path / "deep") == ["out.txt"]


def test_a_folder_takes_the_place_of_a_folder(tmp_path):
    (tmp_path / "out").mkdir()
    for name in JUDGE:
        (tmp_path / "out" / name).write_text("old")
    with replacing(tmp_path / "out", JUDGE) as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("new")
    assert os.listdir(tmp_path / "out") == ["new"]


def test_a_failing_row_leaves_no_file(tmp_path):
    def rows():
        yield {"a": 1}
        raise Broken

    with pytest.raises(Broken):
        write_jsonl(tmp_path / "out.jsonl", rows())
    assert os.listdir(tmp_path) == []


def test_the_line_that_is_not_utf_8_is_named(tmp_path):
    path = tmp_path / "in.txt"
    path.write_bytes("één\n".encode() + b"two\nthr\xe9e\n")
    with pytest.raises(LMSteerError, match=r"in\.txt, line 3: byte 0xe9 is not UTF-8"):
        read_text(path)


@pytest.mark.parametrize("bad", ['{"a": 1', "[1]", "1", '{"a": 1} {"b": 2}'])
def test_the_bad_line_of_json_lines_is_named(tmp_path, bad):
    path = tmp_path / "in.jsonl"
    path.write_text('{"a": 1}\n\n' + bad + "\n")
    with pytest.raises(LMSteerError, match=r"in\.jsonl, line 3: "):
        read_jsonl(path)


def test_json_lines_survive_characters_that_other_readers_split_at(tmp_path):
    rows = [
        {"text": "one\u2028two\x85three\nfour"},
        {"text": "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")},
    ]
    write_jsonl(tmp_path / "out.jsonl", rows)
    assert read_jsonl(tmp_path / "out.jsonl") == rows


def test_a_bad_json_document_is_named_with_its_line(tmp_path):
    path = tmp_path / "in.json"
    path.write_text('{"a": 1,\n"b": }')
    with pytest.raises(LMSteerError, match=r"in\.json, line 2: not valid JSON"):
        read_json(path)


@pytest.mark.parametrize("read", [read_text, read_json, read_jsonl])
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(LMSteerError, match="nowhere: no such file"):
        read(tmp_path / "nowhere")


def test_a_full_disk_is_found_before_the_work(tmp_path):
    with pytest.raises(LMSteerError, match=r"the model needs .* MB in"):
        require_space(tmp_path, 1 << 62, "the model")


def test_a_fingerprint_depends_on_contents_not_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1}) != fingerprint({"a": 1, "b": [3]})


def test_what_is_written_has_the_rights_of_any_other_file(tmp_path):
    (tmp_path / "other").touch()
    for name in ("one", "folder/one"):
        with replacing(tmp_path / name.split("/")[0], JUDGE if "/" in name else None) as temporary:
            place = temporary / "one" if "/" in name else temporary
            place.parent.mkdir(exist_ok=True)
            save_file({"weight": torch.zeros(2)}, place)
        assert (tmp_path / name).stat().st_mode == (tmp_path / "other").stat().st_mode
