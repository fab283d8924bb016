import pytest

from lm_steer import LMSteerError
from lm_steer.study.strict_yaml import overlaid, read_config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 1,\n  c: 2}\n", "line 3: the key 'c' occurs twice"),
        ("a: {b: 1, b: 2}\n", "line 1: the key 'b' occurs twice"),
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
        read_config(path)
    assert str(caught.value).startswith(str(path)) and message in str(caught.value)


def test_merged_keys_are_no_duplicates(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("a: &a {b: 1, c: 2}\nd: &d {<<: *a, b: 3}\ne: {<<: *d, b: 4, 'no': 5}\n", encoding="utf-8")
    read_config(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"seeds: &all [*all]", "or an alias contains itself"),
        (b"a: caf\xe9", "line 1: byte 0xe9 is not UTF-8"),
        (b"a: 1\n---\nb: 2", "line 2: expected a single document"),
        (b"{" * 3000, "nested too deeply"),
    ],
)
def test_what_is_no_config_is_named_by_its_line(tmp_path, content, says):
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(LMSteerError, match=says):
        read_config(path)


def test_json_is_checked_too(tmp_path):
    path = tmp_path / "study.json"
    path.write_text('{"a": {\n\t"b": 1, "b": 2}}', encoding="utf-8")
    with pytest.raises(LMSteerError, match="the key 'b' occurs twice"):
        read_config(path)
    path.write_bytes(b"\xff")
    with pytest.raises(LMSteerError, match=r"study\.json"):
        read_config(path)


@pytest.mark.parametrize(
    ("base", "overlay", "expected"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": None, "d": None}}, {"a": {"b": 1}}),
        ({"a": [1, 2], "b": None}, {"a": [3]}, {"a": [3], "b": None}),
        ({"a": 1}, {"a": {"b": None, "c": 2}}, {"a": {"c": 2}}),
        # Another source has other keys; another kind of steer has the same.
        (
            {"prompts": {"few": {"source": "paper", "name": "neutral", "count": 5}}},
            {"prompts": {"few": {"source": "file", "path": "few.jsonl"}}},
            {"prompts": {"few": {"source": "file", "path": "few.jsonl"}}},
        ),
        (
            {"prompts": {"few": {"source": "paper", "name": "neutral"}}},
            {"prompts": {"few": {"source": "paper", "count": 5}}},
            {"prompts": {"few": {"source": "paper", "name": "neutral", "count": 5}}},
        ),
        (
            {"steers": {"mood": {"kind": "multiply", "rank": 4}}},
            {"steers": {"mood": {"kind": "add"}}},
            {"steers": {"mood": {"kind": "add", "rank": 4}}},
        ),
    ],
)
def test_an_overlay_changes_and_takes_away_what_it_names(base, overlay, expected):
    assert overlaid(base, overlay) == expected
    assert overlaid(base, overlay, overlay) == expected


@pytest.mark.parametrize("text", ["- 1\n", "words\n", ""])
def test_a_file_without_keys_is_no_config(tmp_path, text):
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(LMSteerError, match=r"study\.yaml: expected keys of a study"):
        read_config(tmp_path / "study.yaml")
