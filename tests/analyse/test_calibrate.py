import math

import pytest
import tiny
import torch

from lm_steer import LMSteerError, Steer, calibrate
from lm_steer.analyse.calibrate import write_calibration
from lm_steer.core.attach import attach
from lm_steer.util.files import read_json

TEXTS = list(tiny.SENTENCES[:3])
VALUES = [-2.0, 0.5, 1.0, 3.0]


def directly(
    loaded, steer: Steer, texts: list[str], values: dict[str, float], starts: list[int]
) -> tuple[float, float]:
    """Return KL and perplexity of the attached model, over the tokens from `starts` on."""
    kl, nll = [], []
    for text, start in zip(texts, starts, strict=True):
        ids = torch.tensor([loaded.tokenizer(text)["input_ids"]])
        plain = tiny.logits_of(loaded.model, ids)[0, start - 1 : -1].double().log_softmax(-1)
        with attach(loaded.model, steer).at(values):
            steered = tiny.logits_of(loaded.model, ids)[0, start - 1 : -1].double().log_softmax(-1)
        kl += (steered.exp() * (steered - plain)).sum(-1).tolist()
        nll += (-steered.gather(1, ids[0, start:, None])).flatten().tolist()
    return sum(kl) / len(kl), math.exp(sum(nll) / len(nll))


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.parametrize("name", ["gpt2", "llama-padded-vocabulary", "gemma2", "granite", "gpt-j"])
def test_each_value_costs_what_the_attached_model_costs(make_loaded, name, kind):
    loaded = make_loaded(name)
    steer = tiny.make_steer(loaded.model, kind)
    curve = calibrate(steer, loaded, TEXTS, "style", held={"corpus": 0.5}, values=VALUES, at_kl=1000)
    assert [point.value for point in curve.points] == sorted([0, *VALUES])
    for point in curve.points:
        expected = directly(loaded, steer, TEXTS, {"style": point.value, "corpus": 0.5}, [1] * len(TEXTS))
        assert (point.kl, point.perplexity) == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert curve.unsteered == pytest.approx(directly(loaded, steer, TEXTS, {}, [1] * len(TEXTS))[1], rel=1e-4)


def test_a_prompt_is_given_and_its_continuation_measured(loaded):
    steer = tiny.make_steer(loaded.model)
    prompts, texts = ["The movie was", "The film"], [" a joy to watch.", " is dull, slow"]
    curve = calibrate(steer, loaded, texts, "style", prompts=prompts, values=VALUES)
    starts = [len(loaded.tokenizer(prompt)["input_ids"]) for prompt in prompts]
    wholes = [prompt + text for prompt, text in zip(prompts, texts, strict=True)]
    for point in curve.points:
        expected = directly(loaded, steer, wholes, {"style": point.value}, starts)
        assert (point.kl, point.perplexity) == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_chunks_do_not_show(loaded, monkeypatch):
    steer = tiny.make_steer(loaded.model)
    whole = calibrate(steer, loaded, TEXTS, "style", values=VALUES)
    monkeypatch.setattr("lm_steer.analyse.grid.CHUNK_BYTES", 1)
    for one, other in zip(whole.points, calibrate(steer, loaded, TEXTS, "style", values=VALUES).points, strict=True):
        assert (one.kl, one.perplexity) == pytest.approx((other.kl, other.perplexity), rel=1e-4)


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_the_cost_grows_from_nothing_at_0_and_the_recommended_value_costs_the_price(make_loaded, name):
    loaded = make_loaded(name)
    steer = tiny.make_steer(loaded.model)
    curve = calibrate(steer, loaded, TEXTS, "style", at_kl=0.2)
    middle = len(curve.points) // 2
    assert (curve.points[middle].value, curve.points[middle].kl) == (0, 0)
    assert curve.points[middle].perplexity == curve.unsteered
    up, down = ([point.kl for point in side] for side in (curve.points[middle:], curve.points[middle::-1]))
    assert up[:4] == sorted(up[:4]) and down[:4] == sorted(down[:4]) and up[1] > 0
    for side in (1, -1):
        value = curve.at_kl(0.2, side)
        assert directly(loaded, steer, TEXTS, {"style": value}, [1] * len(TEXTS))[0] == pytest.approx(0.2, rel=0.1)
        assert 0 < side * curve.recommended(side) <= side * value


def test_a_steer_of_twice_the_strength_has_half_the_values(loaded):
    steer = tiny.make_steer(loaded.model)
    one, two = (calibrate(each, loaded, TEXTS, "style") for each in (steer, 2 * steer))
    for side in (1, -1):
        assert two.recommended(side) == pytest.approx(one.recommended(side) / 2, rel=1e-4)
        assert abs(one.recommended(side)) < one.points[-1].value


def test_quality_that_breaks_first_lowers_the_recommended_value(loaded):
    steer = tiny.make_steer(loaded.model)
    curve = calibrate(steer, loaded, TEXTS, "style", values=[-20, -5, 5, 20], at_kl=1e6)
    breaks = curve.breaks()
    assert 0 < breaks < 20 and curve.recommended() == breaks and math.isnan(curve.at_kl(1e6))
    assert f"recommended style={breaks:.2g} (quality breaks at {breaks:.2g}" in curve.advice()[0]


def test_a_file_holds_the_grid_and_what_follows_from_it(loaded, tmp_path):
    curve = calibrate(tiny.make_steer(loaded.model), loaded, TEXTS, "style", values=[0.001])
    write_calibration(curve, tmp_path / "curve.json")
    written = read_json(tmp_path / "curve.json", {})
    assert written["points"][0] == {"value": 0, "kl": 0, "perplexity": curve.unsteered}
    assert written["up"] == {"at_kl": None, "breaks": None, "recommended": None}
    write_calibration(curve, tmp_path / "curve.csv")
    assert (tmp_path / "curve.csv").read_text().startswith("value,kl,perplexity\n0,0,")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dimension": "tone"}, "the steer has no dimension 'tone'"),
        ({"held": {"style": 1}}, "'style' is calibrated"),
        ({"held": {"corpus": 1000}}, "the held values alone cost"),
        ({"texts": ["a"]}, "none of the 1 texts has a token to predict"),
        ({"texts": []}, "none of the 0 texts"),
        ({"prompts": ["The"]}, "expected one prompt per text, found 1 for 3 texts"),
        ({"at_kl": 1000}, "no value up to 16384 costs 1000 nats"),
        ({"at_kl": 0}, "at_kl: expected a number above 0"),
        ({"values": [math.inf]}, "values: expected a number"),
    ],
)
def test_bad_input_is_named(loaded, given, message):
    arguments = {"texts": TEXTS, "dimension": "style", **given}
    with pytest.raises(LMSteerError, match=message):
        calibrate(tiny.make_steer(loaded.model), loaded, **arguments)
