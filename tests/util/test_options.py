"""One type for each option and key: the command line, a study, a job and a recipe refuse the same values."""

import json
import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from test_study import SCHEMA, changed

from lm_steer import LMSteerError
from lm_steer.generation.jobs import parse_job, parse_values
from lm_steer.generation.nucleus import Sampling
from lm_steer.study import resolved
from lm_steer.training.learn import Recipe
from lm_steer.util import options

NUMBERS = st.one_of(
    st.integers(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0, 1, -1, 2**32, 10**9, 10**9 + 1, 10**400, -(10**400), 1e-9, True, 5.0, 1.7]),
)
TYPES = ("Count", "Positive", "AtLeastTwo", "Seed", "TopP", "Epsilon", "Regularization", "Finite", "SteerValue")


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
def test_a_study_a_job_and_a_sampling_agree(key, value):
    by_study = refused(resolved, changed(f"sampling/{key}", value), SCHEMA)
    assert bool(by_study) == bool(refused(Sampling, **{key: value}))
    assert f"sampling.{key}: expected" in by_study or not by_study
    # A job knows numbers as text, where 5.0 and true are no types of their own.
    if not isinstance(value, bool) and not (isinstance(value, float) and value.is_integer()) and abs(value) < 1e300:
        assert bool(by_study) == bool(refused(parse_job, f"o|p||{key}={value}"))


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["rank", "steps", "batch_size", "epsilon", "learning_rate", "regularization"]), NUMBERS)
def test_a_study_and_a_recipe_agree(key, value):
    by_study = refused(resolved, changed(f"steers/detox/{key}", value), SCHEMA)
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
    ("job", "message"),
    [
        ("o|p|s x=1 x=2", "'x' stands twice"),
        ("o|p|s x=nan", "expected a number from"),
        ("o|p|s x=1e30", "expected a number from"),
        ("o|p|s x=1 +  + t", "lacks the folder of a steer"),
        ("o|p||samples=1.7", "samples in 'o|p||samples=1.7': expected a whole number"),
        ("o|p||top_p=2", "expected a number from 0.001 to 1"),
    ],
)
def test_a_job_that_does_not_mean_what_it_says_is_refused(job, message):
    assert message in refused(parse_job, job)


@pytest.mark.parametrize("name", ["a b", "a=b", "a,b", "", "-a", "a\n", "a|b"])
def test_a_dimension_that_no_command_can_name_is_refused(name):
    assert "expected a name" in refused(Recipe, (name,))
    assert refused(resolved, changed("steers/detox/dimensions", [name]), SCHEMA)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "--model", "m", "--job", "o|p|", "--top-p", "-1"], "--top-p: expected a number from 0.001 to 1"),
        (["generate", "--model", "m", "--job", "o|p|", "--samples", "0"], "--samples: expected a whole number from 1"),
        (["generate", "--model", "m", "--job", "o|p|", "--seed", "-1"], "--seed: expected a whole number from 0"),
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
    problem = refused(resolved, study, SCHEMA)
    # What is accepted is a study that JSON can hold, without NaN.
    assert problem or json.dumps(resolved(study, SCHEMA), allow_nan=False)
