"""Kinds of scorers that do not serve are refused by name."""

import pytest

from lm_steer import LMSteerError
from lm_steer.score.registry import kind_of


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("from lm_steer.score.registry import Kind\nclass Taste(Kind):\n    yields = 'taste'", "no method 'scorer'"),
        ("class Taste:\n    pass", "not a kind of scorer"),
    ],
)
def test_a_kind_of_ones_own_that_cannot_score_is_refused(tmp_path, monkeypatch, code, message):
    name = f"own_taste_{len(code)}"
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LMSteerError, match=message):
        kind_of(f"{name}:Taste")
