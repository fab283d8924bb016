import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from lm_steer import LMSteerError, Steer
from lm_steer.interop.logits import logits_map
from lm_steer.interop.stored_head import CAP
from lm_steer.model.obtain import obtain

VALUES = {"style": [3.0, 0.0, -2.0], "corpus": [1.0, 0.0, 0.5]}
LINEAR = [name for name in tiny.CONFIGS if name != "gemma2"]


def rows(values):
    return torch.tensor(list(zip(*values.values(), strict=True)))


def last_logits(model, ids):
    return tiny.logits_of(model, ids)[:, -1]


@pytest.fixture
def prompts():
    return torch.randint(2, 300, (3, 7), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.parametrize("name", LINEAR)
def test_a_map_of_the_logits_does_what_the_attached_steer_does(prompts, name, kind):
    model = tiny.make_model(name)
    steer = tiny.make_steer(model, kind=kind)
    plain = last_logits(model, prompts)
    with steer.attach(model).at(VALUES):
        expected = last_logits(model, prompts)
    steering = logits_map(steer, model)
    added = steering.added(plain, rows(VALUES))
    assert (plain + added - expected).norm() < 1e-5 * (expected - plain).norm()
    assert steering.error < 1e-5
    assert not added[1].any(), "a row at 0 stays as it is, bit for bit"


def test_the_head_of_a_folder_need_not_be_loaded(tmp_path, prompts):
    for name in ("gpt2", "llama", "llama-tied", "gpt-j", "gpt-neox"):
        model = tiny.make_model(name)
        steer = tiny.make_steer(model)
        model.save_pretrained(tmp_path / f"{name}-origin")
        tiny.make_tokenizer().save_pretrained(tmp_path / f"{name}-origin")
        obtain("folder", str(tmp_path / f"{name}-origin"), tmp_path / name)
        plain = last_logits(model, prompts)
        loaded, stored = (logits_map(steer, one).added(plain, rows(VALUES)) for one in (model, tmp_path / name))
        torch.testing.assert_close(stored, loaded, msg=name)


def test_generate_of_transformers_is_steered_by_the_processor_as_by_the_attached_steer(prompts):
    model = tiny.make_model("llama").eval()
    steer = tiny.make_steer(model)
    steering = logits_map(steer, model)
    options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 1, "eos_token_id": None}
    for more in ({}, {"num_beams": 2, "num_return_sequences": 2, "renormalize_logits": True}):
        with steer.attach(model).at(VALUES):
            expected = model.generate(prompts, **options, **more)
        found = model.generate(prompts, **options, **more, logits_processor=[steering.processor(VALUES)])
        assert torch.equal(found, expected)
        assert not torch.equal(found, model.generate(prompts, **options, **more))
    with pytest.raises(LMSteerError, match="one per prompt"):
        steering.processor(VALUES)(prompts[:2], torch.zeros(2, len(steering.up)))


def test_a_callable_on_arrays_steers_one_position(prompts):
    model = tiny.make_model("gpt2")
    steer = tiny.make_steer(model)
    plain = last_logits(model, prompts)[0].numpy()
    with steer.attach(model).at(style=4):
        expected = last_logits(model, prompts)[0].numpy()
    found = logits_map(steer, model).numpy_processor(style=4)([1, 2, 3], plain)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == plain.dtype


def test_the_rank_is_cut_to_the_share_of_the_effect():
    model = tiny.make_model("llama")
    steer = tiny.make_steer(model, rank=8)
    factors = 2.0 ** -torch.arange(8)
    steer = Steer(steer.dimensions, {"A": steer.weights["A"] * factors, "B": steer.weights["B"]})
    hidden = torch.randn(400, 32, generator=torch.Generator().manual_seed(0))
    plain = hidden @ model.lm_head.weight.T
    whole = logits_map(steer, model, share=1.0).added(plain, torch.tensor([[1.0, 0.0]]))
    sizes = []
    for share in (0.5, 0.9, 0.999):
        steering = logits_map(steer, model, share=share)
        lost = (steering.added(plain, torch.tensor([[1.0, 0.0]])) - whole).norm().square() / whole.norm().square()
        assert lost <= 1.3 * (1 - share)
        sizes.append(len(steering.dimension))
    assert sizes == sorted(set(sizes)) and sizes[-1] < 16


def test_half_precision_costs_what_is_said_and_too_much_is_refused():
    model = tiny.make_model("llama")
    steer = tiny.make_steer(model)
    assert 1e-5 < logits_map(steer, model, dtype=torch.bfloat16).error < 5e-2
    # A head that is nearly of lower rank hardly tells one direction of the hidden state.
    with torch.no_grad():
        model.lm_head.weight[:, 0] = model.lm_head.weight[:, 1]
        model.lm_head.weight[0, 0] += 1e-3
    with pytest.raises(LMSteerError, match="off by"):
        logits_map(steer, model, dtype=torch.bfloat16)
    with torch.no_grad():
        model.lm_head.weight[:, 0] = model.lm_head.weight[:, 1]
    with pytest.raises(LMSteerError, match="linearly dependent"):
        logits_map(steer, model)


def test_what_cannot_be_a_map_of_the_logits_is_refused(tmp_path):
    gemma, llama = tiny.make_model("gemma2"), tiny.make_model("llama")
    steer = tiny.make_steer(llama)
    with pytest.raises(LMSteerError, match="caps its logits"):
        logits_map(tiny.make_steer(gemma), gemma)
    with pytest.raises(LMSteerError, match="width"):
        logits_map(steer, tiny.make_model("opt-projected"))
    with pytest.raises(LMSteerError, match="share"):
        logits_map(steer, llama, share=0)
    with pytest.raises(LMSteerError, match="another model"):
        logits_map(steer, llama).added(torch.zeros(1, 5), torch.zeros(1, 2))
    with pytest.raises(LMSteerError, match="no dimension 'mood'"):
        logits_map(steer, llama).processor(mood=1)
    llama.config.save_pretrained(tmp_path)
    with pytest.raises(LMSteerError, match="can be loaded"):
        logits_map(steer, tmp_path)
    llama.lm_head.weight.data[3, 3] = torch.nan
    llama.save_pretrained(tmp_path)
    with pytest.raises(LMSteerError, match="are not finite"):
        logits_map(tiny.make_steer(llama, "add"), tmp_path)


def test_a_head_in_a_folder_is_not_taken_without_its_bias_or_its_cap(tmp_path):
    for name in ("gpt-j", "gemma2"):
        tiny.make_model(name).save_pretrained(tmp_path / name)
    steer = tiny.make_steer(tiny.make_model("gpt-j"))
    weights = load_file(tmp_path / "gpt-j/model.safetensors")
    del weights["lm_head.bias"]
    save_file(weights, tmp_path / "gpt-j/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LMSteerError, match="the bias of its output head"):
        logits_map(steer, tmp_path / "gpt-j")
    with pytest.raises(LMSteerError, match="caps its logits"):
        logits_map(tiny.make_steer(tiny.make_model("gemma2")), tmp_path / "gemma2")


@pytest.mark.parametrize(
    ("key", "caps"),
    [
        ("final_logit_softcapping", True),
        ("output_softcap", True),
        ("attn_logit_softcapping", False),
        ("mlp_softcap", False),
    ],
)
def test_a_cap_of_the_logits_is_told_from_those_within_the_body(key, caps):
    assert bool(CAP.fullmatch(key)) == caps
