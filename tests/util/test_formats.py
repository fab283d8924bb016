"""Readers: whatever the bytes, they give a value or one sentence that names the file."""

import gzip
import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from lm_steer import LMSteerError
from lm_steer.util.files import numbered_jsonl, parse_json, read_json, read_jsonl, read_text
from lm_steer.util.formats import read_benchmark, read_csv, read_parquet, read_tensors

READERS = [read_text, read_json, read_jsonl, read_csv, read_parquet, read_tensors, read_benchmark]
PARQUET = pd.DataFrame({"text": ["a", "b"], "label": [1.0, -1.0]}).to_parquet()
HEAD = {"A": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
TENSORS = len(json.dumps(HEAD)).to_bytes(8, "little") + json.dumps(HEAD).encode() + bytes(8)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_or_refused(read, path: Path) -> None:
    try:
        read(path)
    except LMSteerError as error:
        assert str(path) in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("read", READERS)
@QUICK
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(content=b"[" * 100_000)
@example(content=b'{"a":' * 50_000)
@example(content=b"1" * 5000)
@example(content="text,label\nä,1\n".encode("utf-16"))
@example(content=b"a,a\n1,2\n")
@example(content=b'a,b\n"1,2\n')
@example(content=b"s\tmax_rss\tcpu_time\n-\t-\t-\n")
def test_any_bytes_give_a_value_or_a_sentence_that_names_the_file(tmp_path, read, content):
    (tmp_path / "in").write_bytes(content)
    read_or_refused(read, tmp_path / "in")


@pytest.mark.parametrize(("read", "whole"), [(read_parquet, PARQUET), (read_tensors, TENSORS)])
@QUICK
@given(data=st.data())
def test_damage_anywhere_in_a_binary_file_does_too(tmp_path, read, whole, data):
    at = data.draw(st.integers(0, len(whole) - 1))
    damage = data.draw(st.binary(min_size=1, max_size=8))
    cut = data.draw(st.integers(at, len(whole)))
    (tmp_path / "in").write_bytes((whole[:at] + damage + whole[at + len(damage) :])[:cut])
    read_or_refused(read, tmp_path / "in")


@pytest.mark.parametrize("read", READERS)
def test_a_folder_and_a_missing_file_are_named(tmp_path, read):
    with pytest.raises(LMSteerError, match=f"{tmp_path.name} .*[Dd]irectory"):
        read(tmp_path)
    with pytest.raises(LMSteerError, match="nowhere: no such file"):
        read(tmp_path / "nowhere")


def test_a_byte_order_mark_at_the_start_of_a_file_is_no_text(tmp_path):
    path = tmp_path / "in"
    path.write_bytes("\ufeffa,b\n1,2\n".encode())
    assert list(read_csv(path)) == ["a", "b"]
    path.write_bytes('\ufeff{"a": 1}\n\ufeff{"a": 2}\n'.encode())
    assert read_jsonl(path) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\né,2\n".encode("latin-1"), "line 2: byte 0xe9 is not UTF-8: save"),
        ("a,b\né,2\n".encode("utf-16"), "UTF-16: save"),
        ("a,b\né,2\n".encode("utf-32"), "UTF-32: save"),
        (gzip.compress(b"a,b\n"), "gzip: decompress"),
        (b"PAR1", "a parquet file: save it in the format"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_a_file_that_is_no_utf_8_text_is_named_with_what_to_do(tmp_path, content, message):
    (tmp_path / "in").write_bytes(content)
    with pytest.raises(LMSteerError, match=message):
        read_csv(tmp_path / "in")


@pytest.mark.parametrize("read", [read_parquet, read_tensors])
def test_a_pointer_of_git_lfs_in_place_of_a_binary_file_is_named(tmp_path, read):
    (tmp_path / "in").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 100\n")
    with pytest.raises(LMSteerError, match="git lfs pull"):
        read(tmp_path / "in")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "1111 is not a finite number"),
        ("[1e400]", "1e400 is not a finite number"),
        ('{"a": NaN}', "NaN is not a finite number"),
        ('{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        (r'"\ud800"', "half of a surrogate pair"),
        ("{", "not valid JSON"),
    ],
)
def test_json_that_readers_disagree_on_is_refused(text, message):
    with pytest.raises(LMSteerError, match=f"in.json.*{message}"):
        parse_json(text, "in.json")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**300), 10**300) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    ).filter(lambda value: math.inf not in (value, -value if isinstance(value, float) else value))
)
@settings(deadline=None)
def test_json_as_python_writes_it_comes_back(value):
    written = json.dumps(value)
    if "Infinity" not in written:
        assert parse_json(written, "in.json") == value


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (list, "in.json: expected a list, found"),
        ({"x": str}, "in.json: the key 'x' is missing"),
        ({"a": {str: int}}, r"in.json, a.c: expected a whole number, found 'True'"),
        ({"a": {"b": str}}, r"in.json, a.b: expected text, found '1'"),
        ({"d": [str]}, r"in.json, d\[1\]: expected text, found null"),
    ],
)
def test_the_key_of_another_shape_is_named(tmp_path, shape, message):
    (tmp_path / "in.json").write_text('{"a": {"b": 1, "c": true}, "d": ["x", null]}')
    assert read_json(tmp_path / "in.json", {"a": {"b": int, "c": bool}, "d": list})
    with pytest.raises(LMSteerError, match=message):
        read_json(tmp_path / "in.json", shape)


def test_the_fields_of_a_csv_stay_text(tmp_path):
    (tmp_path / "in.csv").write_text('text,id\nNA,007\nnull,1e5\n"None, ""quoted""\nand more",\n\n')
    frame = read_csv(tmp_path / "in.csv")
    assert frame["text"].tolist() == ["NA", "null", 'None, "quoted"\nand more']
    assert frame["id"].tolist() == ["007", "1e5", ""]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,a\n1,2\n", "the column 'a' occurs twice"),
        ("a,b\n1,2\n1\n", "line 3: expected 2 fields, found 1"),
        ("a,b\n1,2,3\n", "line 2: expected 2 fields, found 3"),
        ('a,b\n"1,2\n', "line 2: not valid CSV"),
        ("a,c\n1,2\n", "has no column 'b': it has a, c"),
        ("a,b\n1,x\n", "row 1, column b: expected a finite number, found 'x'"),
        ("a,b\n1,2\n1,inf\n", "row 2, column b: expected a finite number, found 'inf'"),
        ("a,b\n1,nan\n", "row 1, column b: expected a finite number, found 'nan'"),
        ("a,b\n,2\n", None),
    ],
)
def test_what_is_wrong_in_a_csv_is_named(tmp_path, content, message):
    (tmp_path / "in.csv").write_text(content)
    if message is None:
        assert math.isnan(read_csv(tmp_path / "in.csv", numbers=["b"], gaps=["a"])["a"].iloc[0])
        return
    with pytest.raises(LMSteerError, match=f"in.csv.*{message}"):
        read_csv(tmp_path / "in.csv", numbers=["b"], gaps=["a"])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_tensors_that_are_not_finite_are_refused(tmp_path, value):
    save_file({"A": torch.tensor([1.0, value])}, tmp_path / "t.safetensors")
    with pytest.raises(LMSteerError, match="the tensor 'A' has values that are not finite"):
        read_tensors(tmp_path / "t.safetensors")


def test_lines_are_counted_as_an_editor_counts_them(tmp_path):
    (tmp_path / "in.jsonl").write_text('\n{"a": 1}\r\n\n{"a": 2}')
    assert [number for number, _ in numbered_jsonl(tmp_path / "in.jsonl")] == [2, 4]
