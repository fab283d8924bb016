"""The fast paths of a GPU against the plain model on it, and loss and gradients against float64."""

import gc
import importlib.util
import math
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from lm_steer import Sampling, attach
from lm_steer.generation.capture import capture
from lm_steer.generation.continuations import continuations
from lm_steer.generation.decoder import Decoder
from lm_steer.generation.nucleus import sample_tokens, tries
from lm_steer.generation.shared import ContinuedLayer, SharedLayer
from lm_steer.generation.way import way_of
from lm_steer.model.head import head_of
from lm_steer.score.perplexity import causal_lm
from lm_steer.score.store import Item
from lm_steer.training.learn import LabelledTexts, Recipe, learn, steered_nll

# Beside this file, however pytest imports it.
spec = importlib.util.spec_from_file_location("gpu_models", Path(__file__).with_name("models.py"))
models = sys.modules["gpu_models"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(models)

SAMPLING = Sampling(samples=10, new_tokens=10)
# GPT-J's mask is copied from the host in each step, and dynamic rotary positions are read there.
UNGRAPHED = [("dynamic-rope", "static"), ("gemma2", "growing"), ("gemma3", "growing"), ("gpt-j", "static")]
GRAPHED = [name for name in models.FAMILIES if name not in dict(UNGRAPHED)]


def decoded(loaded, ids, sampling=SAMPLING, way="shared"):
    decoder = Decoder(loaded, len(ids) + 1, 16, sampling, way)
    uniforms = models.uniforms_of(len(ids) * sampling.samples, sampling)
    return decoder, decoder.run(ids, uniforms), uniforms


@pytest.mark.parametrize("dtype", models.AGREEMENT)
@pytest.mark.parametrize("way", ["shared", "static"])
@pytest.mark.parametrize("family", GRAPHED)
def test_steered_tokens_are_those_of_the_plain_model(device, family, way, dtype):
    loaded, ids = models.make(family, dtype, device), models.prompts_of(12)
    with attach(loaded.model, models.steer_of(loaded)).at(style=2, corpus=1):
        decoder, made, uniforms = decoded(loaded, ids, way=way)
        assert models.redrawn(decoder, ids, made, uniforms) >= models.AGREEMENT[dtype]
        assert (decoder.graph is not None) == (device.type == "cuda")
        # The same buffers and graph for another block, a smaller one.
        other = models.prompts_of(11, seed=9)
        again = decoder.run(other, uniforms[: 11 * SAMPLING.samples])
        assert models.redrawn(decoder, other, again, uniforms[: 11 * SAMPLING.samples]) >= models.AGREEMENT[dtype]


@pytest.mark.parametrize("top_p, top_k", [(1.0, 0), (1.0, 50), (0.9, 50)])
def test_tokens_of_every_sampling(device, top_p, top_k):
    loaded, ids, sampling = models.make("gpt2", "float32", device), models.prompts_of(12), Sampling(10, 6, top_p, top_k)
    decoder, made, uniforms = decoded(loaded, ids, sampling)
    assert models.redrawn(decoder, ids, made, uniforms) >= models.AGREEMENT["float32"]


def test_a_captured_step_follows_each_change_of_the_steer(device):
    loaded, ids = models.make("gpt2", "float32", device), models.prompts_of(12)
    for seed in (None, 0, 1, None):
        steer = None if seed is None else models.steer_of(loaded, seed=seed)
        with attach(loaded.model, steer).at(style=2, corpus=1) if steer else nullcontext():
            decoder, made, uniforms = decoded(loaded, ids)
            assert models.redrawn(decoder, ids, made, uniforms) >= models.AGREEMENT["float32"]
            assert (decoder.graph is not None) == (device.type == "cuda")
        if steer:
            attach(loaded.model, steer).remove()


@pytest.mark.parametrize("family, way", UNGRAPHED)
def test_what_cannot_be_captured_goes_on_without_and_the_next_model_is(device, family, way):
    for name, chosen in ((family, way), ("gpt2", "shared")):
        loaded, ids = models.make(name, "float32", device), models.prompts_of(8)
        decoder, made, uniforms = decoded(loaded, ids, way=chosen)
        assert models.redrawn(decoder, ids, made, uniforms) >= models.AGREEMENT["float32"]
    assert (decoder.graph is not None) == (device.type == "cuda")


@pytest.mark.parametrize("failure", ["wait", "memory", "error"])
def test_a_failed_capture_leaves_stream_and_allocator_usable(device, failure):
    if device.type != "cuda":
        pytest.skip("a processor captures nothing")
    stream, x, calls = torch.cuda.current_stream(), torch.ones(1000, device=device), []

    def step() -> None:
        calls.append(x.mul(2))
        if len(calls) == 3 and failure == "memory":
            torch.empty(1 << 50, dtype=torch.uint8, device=device)
        if len(calls) == 3 and failure == "error":
            raise ValueError
        if failure == "wait":
            x.sum().item()

    with pytest.raises((RuntimeError, ValueError)):
        capture(lambda: None, step, device)
    calls.clear()
    assert torch.cuda.current_stream() == stream
    torch.cuda.empty_cache()
    assert (torch.ones(1 << 20, device=device) + 1).sum().item() == 1 << 21


def test_out_of_memory_halves_the_rows(device, capsys):
    if device.type != "cuda":
        pytest.skip("a processor has no bound to set")
    loaded = models.make("llama", "float32", device)
    prompts = [" ".join(f"t{index}" for index in row) for row in models.prompts_of(200)]
    expected = continuations(loaded, prompts, SAMPLING, "test")
    gc.collect()
    torch.cuda.empty_cache()
    held = torch.cuda.memory_allocated()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (160 << 20)) / total)
    try:
        made = continuations(loaded, prompts, SAMPLING, "test")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    pairs = [(a, b) for one, other in zip(made, expected, strict=True) for a, b in zip(one, other, strict=True)]
    assert sum(a == b for a, b in pairs) > 0.99 * len(pairs)
    assert "out of memory" in capsys.readouterr().err
    gc.collect()
    assert torch.cuda.memory_allocated() - held < 1 << 20


@pytest.mark.parametrize("family", models.FAMILIES)
def test_a_model_is_sampled_the_fastest_way_that_leaves_it_unchanged(device, family):
    expected = {"gpt-j": "static", "gemma2": "growing", "gemma3": "growing"}.get(family, "shared")
    if device.type == "cpu" and expected == "shared":
        expected = "static"
    assert way_of(models.make(family, "float32", device)) == expected


@pytest.mark.parametrize("top_p", [0.9, 0.3])
def test_the_draw_is_that_of_a_processor(device, top_p):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(300, 5003, generator=generator) * 3
    uniforms = torch.rand(300, tries(top_p), generator=generator)
    drawn = sample_tokens(logits.to(device), uniforms.to(device), top_p).cpu()
    assert (drawn == sample_tokens(logits, uniforms, top_p)).float().mean() > 0.99


@pytest.mark.parametrize("dtype, limit", [("float32", 1e-5), ("bfloat16", 1e-2), ("float16", 2e-3)])
@pytest.mark.parametrize("heads, groups, width, length", [(4, 4, 64, 16), (8, 2, 80, 40), (6, 1, 128, 7)])
def test_attention_to_shared_prompts_is_that_of_a_processor(device, heads, groups, width, length, dtype, limit):
    generator = torch.Generator().manual_seed(0)
    made = {}
    for place, kind in ((torch.device("cpu"), torch.float32), (device, getattr(torch, dtype))):
        generator.manual_seed(0)

        def draw(*shape, place=place, kind=kind):
            return torch.randn(*shape, generator=generator).to(getattr(torch, dtype)).to(place, kind)

        layer = SharedLayer(20)
        begins = torch.tensor([0, length - 1, length // 2], device=place)
        layer.start(draw(3, groups, length, width), draw(3, groups, length, width), 5, begins)
        outputs = []
        for _ in range(18):
            layer.update(draw(15, groups, 1, width), draw(15, groups, 1, width))
            outputs.append(layer.attention(draw(15, heads, 1, width), width**-0.5).float().cpu())
        made[place.type, kind] = torch.stack(outputs)
    plain, *others = made.values()
    for other in others:
        assert (other - plain).norm() < limit * plain.norm()


@pytest.mark.parametrize("dtype, limit", [("float32", 1e-5), ("bfloat16", 1e-2), ("float16", 2e-3)])
@pytest.mark.parametrize(
    "heads, groups, width, length, tokens", [(4, 4, 64, 16, 24), (8, 2, 80, 40, 70), (6, 1, 24, 7, 3)]
)
def test_attention_of_continuations_is_that_of_a_processor(device, heads, groups, width, length, tokens, dtype, limit):
    generator, found = torch.Generator(), []
    for place, kind in ((torch.device("cpu"), torch.float32), (device, getattr(torch, dtype))):
        generator.manual_seed(0)

        def draw(*shape, place=place, kind=kind):
            return torch.randn(*shape, generator=generator).to(getattr(torch, dtype)).to(place, kind)

        begins = torch.tensor([0, length - 1, length // 2], device=place)
        prompts = draw(3, groups, length, width), draw(3, groups, length, width)
        layer = ContinuedLayer(*prompts, torch.tensor([0, 0, 1, 2, 2], device=place), begins)
        # As models have them: heads beside each other, and not in one piece.
        layer.update(draw(5, tokens, groups, width).transpose(1, 2), draw(5, tokens, groups, width).transpose(1, 2))
        found.append(layer.attention(draw(5, tokens, heads, width).transpose(1, 2), width**-0.5).float().cpu())
    assert (found[1] - found[0]).norm() < limit * found[0].norm()


@pytest.mark.parametrize("kind", ["multiply", "add", "offset"])
@pytest.mark.parametrize("dtype, limit", [("float32", 2e-5), ("bfloat16", 3e-2), ("float16", 4e-3)])
def test_loss_and_gradients_are_those_of_float64(device, dtype, limit, kind):
    loaded = models.make("llama", dtype, device)
    head = head_of(loaded.model)
    weight, steer = head.weight.double().cpu(), models.steer_of(loaded, kind)
    generator = torch.Generator().manual_seed(0)
    # More rows than one chunk holds on a vocabulary of this size.
    hidden = torch.randn(5000, weight.shape[1], generator=generator).to(head.weight.dtype)
    targets = torch.randint(len(weight), (5000,), generator=generator)
    values = torch.randn(5000, 2, generator=generator)
    ours = {name: tensor.clone().to(device).requires_grad_() for name, tensor in steer.weights.items()}
    nll = steered_nll(head, kind, ours, steer.epsilon, hidden.to(device), targets.to(device), values.to(device))
    nll.sum().backward()
    exact = {name: tensor.double().requires_grad_() for name, tensor in steer.weights.items()}
    h, v = hidden.double(), steer.epsilon * values.double()
    if kind == "multiply":
        h = h + sum(v[:, k, None] * (h @ exact["B"][k]) @ exact["A"][k].T for k in range(2))
    elif kind == "add":
        h = h + v @ exact["a"]
    logits = h @ weight.T + (v @ exact["o"] if kind == "offset" else 0)
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    expected.sum().backward()

    def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
        return ((found.detach().double().cpu() - wanted.detach()).norm() / wanted.detach().norm()).item()

    assert error(nll, expected) < limit
    assert all(error(ours[name].grad, exact[name].grad) < limit for name in ours)


@pytest.mark.parametrize("padding", [False, True])
def test_a_training_follows_that_of_a_processor(device, tmp_path, padding):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(4, 30, (80,), generator=generator).tolist()
    texts = [" ".join(f"t{i}" for i in torch.randint(3, 4000, (n,), generator=generator).tolist()) for n in lengths]
    labelled = LabelledTexts(texts, [1.0 if i % 2 else -1.0 for i in range(80)])
    recipe = Recipe(("style", "corpus"), rank=8, steps=50, batch_size=8, epsilon=0.01, loss_on_padding=padding)
    logs = [
        learn(models.make("gpt2", "float32", place), labelled, labelled, recipe, tmp_path / place.type)[1]
        for place in (torch.device("cpu"), device)
    ]
    for plain, found in zip(*logs, strict=True):
        assert found.get("loss", 0) == pytest.approx(plain.get("loss", 0), rel=2e-3)


@pytest.mark.parametrize("dtype, limit", [("float32", 1e-4), ("bfloat16", 2e-2), ("float16", 4e-3)])
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3"])
def test_perplexity_is_that_of_full_logits(device, family, dtype, limit):
    loaded, exact = models.make(family, dtype, device), models.make(family, "float32", torch.device("cpu"))
    exact.model.load_state_dict({n: w.float().cpu() for n, w in loaded.model.state_dict().items()})
    texts = [" ".join(f"t{index}" for index in row) for row in models.prompts_of(40)]
    items = [Item(texts[i % 5], f" {text}") for i, text in enumerate(texts)]
    found = dict(causal_lm(loaded, "test").judge(items))
    for index, item in enumerate(items):
        ids = torch.tensor([exact.tokenizer(item.prompt + item.continuation)["input_ids"]])
        given = len(exact.tokenizer(item.prompt)["input_ids"])
        with torch.no_grad():
            logits = exact.model(ids, use_cache=False).logits[0, :-1].double()
        nll = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")[given - 1 :].sum().item()
        assert math.isclose(found[index][0], nll, rel_tol=limit)
