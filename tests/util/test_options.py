"""One type for each option and key: the command line, a study, a job and a recipe refuse the same values."""

import copy
import json
import math
import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from running import ROOT

from lm_steer import LMSteerError
from lm_steer.core.values import parse_values
from lm_steer.generation.jobs import steers_at
from lm_steer.generation.nucleus import Sampling
from lm_steer.study.config import resolved
from lm_steer.training.learn import Recipe
from lm_steer.util import options

STUDY = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
NUMBERS = st.one_of(
    st.integers(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0, 1, -1, 2**32, 10**9, 10**9 + 1, 10**400, -(10**400), 1e-9, True, 5.0, 1.7]),
)
TYPES = ("Count", "Positive", "AtLeastTwo", "Seed", "TopP", "Epsilon", "Regularization", "Finite", "SteerValue")


def changed(path: str, value: object) -> dict:
    """Return the embedded study with one key changed."""
    *parents, key = path.split("/")
    study = block = copy.deepcopy(STUDY)
    for name in parents:
        block = block[name]
    block[key] = value
    return study


def refused(action, *arguments, **named) -> str:
    """Return the sentence in which an action refuses what it is given, or nothing."""
    try:
        action(*arguments, **named)
    except LMSteerError as error:
        return str(error)
    return ""


@settings(deadline=None)
@given(st.sampled_from(TYPES), NUMBERS)
def test_pydantic_and_the_own_check_agree(name, value):
    kind = getattr(options, name)
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
        allowed = True
    except (ValidationError, OverflowError):
        allowed = False
    assert bool(refused(options.check, "x", value, kind.__metadata__)) != allowed


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["samples", "new_tokens", "top_p", "top_k"]), NUMBERS)
def test_a_study_and_a_sampling_agree(key, value):
    by_study = refused(resolved, changed(f"sampling/{key}", value))
    assert bool(by_study) == bool(refused(Sampling, **{key: value}))
    assert f"sampling.{key}: expected" in by_study or not by_study


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["rank", "steps", "batch_size", "epsilon", "learning_rate", "regularization"]), NUMBERS)
def test_a_study_and_a_recipe_agree(key, value):
    by_study = refused(resolved, changed(f"steers/detox/{key}", value))
    assert bool(by_study) == bool(refused(Recipe, ("detox",), **{key: value}))


@settings(deadline=None)
@given(st.text())
def test_steer_values_are_read_or_refused_in_a_sentence(text):
    try:
        values = parse_values(text)
    except LMSteerError as error:
        assert len(str(error).splitlines()) == 1 or "\n" in text
    else:
        assert all(math.isfinite(value) for value in values.values()) and len(values) == len(text.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x=1 x=2", "at gives x twice"),
        ("x=nan", "expected a number from"),
        ("x=1e30", "expected a number from"),
        ("x", "expected a name and its value, as `detox=5 corpus=1`, found 'x'"),
    ],
)
def test_values_that_do_not_mean_what_they_say_are_refused(text, message):
    assert message in refused(parse_values, text)


@pytest.mark.parametrize(
    ("steers", "values", "message"),
    [
        (["s", "s"], ["x=1", "y=2"], "--steer names s twice"),
        (["s"], [], "found 0 for 1"),
        (["s", "t"], ["x=1"], "found 1 for 2"),
        ([], ["x=1"], "found 1 for 0"),
    ],
)
def test_each_steer_has_its_values(steers, values, message):
    assert message in refused(steers_at, steers, values)


@pytest.mark.parametrize("name", ["a b", "a=b", "a,b", "", "-a", "a\n", "a|b"])
def test_a_dimension_that_no_command_can_name_is_refused(name):
    assert "expected a name" in refused(Recipe, (name,))
    assert refused(resolved, changed("steers/detox/dimensions", [name]))


GENERATE = ["generate", "--model", "m", "--prompts", "p", "-o", "o"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*GENERATE, "--top-p", "-1"], "--top-p: expected a number from 0.001 to 1"),
        ([*GENERATE, "--samples", "0"], "--samples: expected a whole number from 1"),
        ([*GENERATE, "--seed", "-1"], "--seed: expected a whole number from 0"),
        (["train", "--model", "m", "--texts", "t.csv", "-o", "s", "--learning-rate", "nan"], "--learning-rate: expec"),
        (["train", "--model", "m", "--texts", "t.csv", "-o", "s", "--dimensions", "a=b"], "--dimensions: expected nam"),
        (["score", "--kind", "causal-lm", "--file", "f", "-o", "s", "--prompts", "-1"], "--prompts: expected a whole"),
        (["gather", "x", "--folder", ".", "--shards", "0"], "--shards: expected a whole number from 1 to 10,000"),
        (["demo", "--port", "0"], "--port: expected a whole number from 1 to 65,535"),
        (["bench", "--steps", "0"], "--steps: expected a whole number from 1"),
    ],
)
def test_the_command_line_refuses_before_any_work(arguments, message, monkeypatch, tmp_path):
    from lm_steer.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lm-steer", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert str(caught.value).startswith("error: ") and message in str(caught.value)
    assert not list(tmp_path.iterdir())


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)
PLACES = [f"{block}/{name}" for block in ("steers", "prompts", "scorers", "settings", "tables") for name in ("x", "y")]


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([*PLACES, "seeds", "analyses", "models", "settings", "tables", "sampling/top_p", "title"]), JSON)
def test_any_block_of_a_study_is_accepted_or_refused_in_sentences(place, value):
    study = changed(place, value)
    problem = refused(resolved, study)
    # What is accepted is a study that JSON can hold, without NaN.
    assert problem or json.dumps(resolved(study).dump(), allow_nan=False)


@pytest.mark.parametrize(
    "kind, fields",
    [
        (Sampling, {"samples": [1, 2]}),
        (Sampling, {"seed": ()}),
        (Recipe, {"dimensions": ("style",), "rank": [2]}),
        (Recipe, {"dimensions": "style"}),
        (Recipe, {"dimensions": {"style", "corpus"}}),
    ],
)
def test_a_list_is_not_a_number_and_a_text_not_a_list(kind, fields):
    name = list(fields)[-1]
    with pytest.raises(LMSteerError, match=f"{name}: expected a"):
        kind(**fields)
