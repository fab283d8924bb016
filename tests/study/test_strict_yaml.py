import pytest

from lm_steer import LMSteerError
from lm_steer.study.strict_yaml import checked_file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 1,\n  c: 2}\n", "line 3: the key 'c' stands twice"),
        ("a: {b: 1, b: 2}\n", "line 1: the key 'b' stands twice"),
        ("settings:\n  no: {}\n", "line 2: the key 'no' is not read as text: write it in quotes"),
        ("1: {}\n", "the key '1' is not read as text"),
        ("~: {}\n", "the key '~' is not read as text"),
        ("2024-01-01: {}\n", "2024-01-01 is read as a date: write it in quotes"),
        ("? [a, b]\n: 1\n", "expected text as a key"),
        ("a: 010\n", "line 1: 010 is read as a number that is not decimal"),
        ("a: 1:30\n", "1:30 is read as a number that is not decimal"),
        ("a: [1\nb: 2\n", "line 2: "),
        ("a: 'b\n", "line "),
        ("a: !!python/object:os.system {}\n", "line 1: "),
        ("a: \x07\n", "not a valid config file"),
        (f"a: {'9' * 5000}\n", "not a valid config file"),
    ],
)
def test_what_yaml_would_read_otherwise_than_it_looks_is_refused(tmp_path, text, message):
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LMSteerError) as caught:
        checked_file(path)
    assert str(caught.value).startswith(str(path)) and message in str(caught.value)


def test_merged_keys_are_no_duplicates(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("a: &a {b: 1, c: 2}\nd: &d {<<: *a, b: 3}\ne: {<<: *d, b: 4, 'no': 5}\n", encoding="utf-8")
    checked_file(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"seeds: &all [*all]", "not a valid config file .Circular"),
        (b"a: caf\xe9", "line 1: byte 0xe9 is not UTF-8"),
        (b"a: 1\n---\nb: 2", "line 2: expected a single document"),
        (b"{" * 3000, "nested too deeply"),
    ],
)
def test_what_is_no_config_is_named_by_its_line(tmp_path, content, says):
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(LMSteerError, match=says):
        checked_file(path)


def test_json_is_checked_too(tmp_path):
    path = tmp_path / "study.json"
    path.write_text('{"a": {\n\t"b": 1, "b": 2}}', encoding="utf-8")
    with pytest.raises(LMSteerError, match="the key 'b' occurs twice"):
        checked_file(path)
    path.write_bytes(b"\xff")
    with pytest.raises(LMSteerError, match=r"study\.json"):
        checked_file(path)
