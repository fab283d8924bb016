"""The GPU path rehearsed without one: no tensor on the wrong device, no wait of the host where it would cost."""

import shutil
from types import SimpleNamespace

import families
import pytest
import tiny
import torch
from fake_cuda import fake_cuda, on_fake_cuda
from transformers import GPT2Config

from lm_steer.bench.shapes import _words, config_of
from lm_steer.core.attach import attach
from lm_steer.core.steer import Steer
from lm_steer.generation.decoder import Decoder
from lm_steer.generation.nucleus import Sampling, has_triton, sample_tokens
from lm_steer.generation.prefill import prefill
from lm_steer.model.blocks import sent
from lm_steer.model.head import Head, float32_logits
from lm_steer.model.hidden_cache import DrawnStates
from lm_steer.model.kernels import quicken, use_one_kernel_gelu
from lm_steer.model.load import LoadedModel
from lm_steer.score.perplexity import _block_nll
from lm_steer.training.learn import steered_nll

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="the device guard is compiled by g++")

CONFIGS = {
    **tiny.CONFIGS,
    **{name: lambda name=name: families.tiny_config(name) for name in ("qwen3", "mistral-full", "phi", "olmo2")},
}
SAMPLING = Sampling(samples=3, new_tokens=6)
IDS = [[5, 6, 7], [8, 9, 10, 11, 12], [13]]


def fake_loaded(config) -> LoadedModel:
    model = on_fake_cuda(config)
    quicken(model)
    return LoadedModel(model, _words(config.vocab_size), "fake", "fake")


def fake_steer(loaded: LoadedModel, kind: str = "multiply") -> dict[str, torch.Tensor]:
    vocabulary, width = loaded.model.get_output_embeddings().weight.shape
    return Steer.initial(("style", "corpus"), vocabulary if kind == "offset" else width, rank=3, kind=kind)


def fake_head(loaded: LoadedModel) -> Head:
    """The head of a model, whose scale and soft-cap cannot be learned from fake logits."""
    module = loaded.model.get_output_embeddings()
    return Head(module.weight, module.bias, 2.0, 5.0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_host_never_waits_in_the_decode_loop(name):
    with fake_cuda() as log:
        loaded = fake_loaded(CONFIGS[name]())
        decoder = Decoder(loaded, 4, 16, SAMPLING)
        with attach(loaded.model, fake_steer(loaded)).at(style=2), float32_logits(loaded.model), torch.no_grad():
            decoder._start(IDS + IDS[:1], *prefill(loaded, IDS + IDS[:1], 16, decoder._prompts))
            log.clear()
            for _ in range(3):
                decoder.step()
            assert log.kernels and not +log.waits and not +log.mismatches
        # What half precision would have rounded.
        assert decoder.logits.dtype == torch.float32


def test_a_gpu_on_which_triton_does_not_run_samples_without_it(capsys):
    has_triton.cache_clear()
    with fake_cuda():
        drawn = sample_tokens(torch.zeros(4, 50, device="cuda:0"), torch.zeros(4, 16, device="cuda:0"), 0.9)
        assert drawn.shape == (4,) and drawn.is_cuda
        sample_tokens(torch.zeros(4, 50, device="cuda:0"), torch.zeros(4, 16, device="cuda:0"), 0.9)
    # Said once.
    assert capsys.readouterr().err.count("Triton does not run") == 1
    has_triton.cache_clear()


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "cohere"])
def test_a_training_step_waits_for_nothing(name, kind):
    with fake_cuda() as log:
        loaded = fake_loaded(CONFIGS[name]())
        weight = loaded.model.get_output_embeddings().weight
        steer = fake_steer(loaded, kind)
        weights = {name: tensor.to(weight.device) for name, tensor in steer.weights.items()}
        memo = SimpleNamespace(loaded=loaded)
        states = DrawnStates(memo, ["", ""], ["a", "b"], torch.zeros(1, 2, dtype=torch.long), "test")
        text = (torch.zeros(5, weight.shape[1], dtype=weight.dtype), torch.zeros(5, dtype=torch.long))
        states.window = {0: text}
        values = torch.ones(2, 2, device=weight.device)
        optimizer = torch.optim.Adam(weights.values())
        head = fake_head(loaded)
        log.clear()
        with torch.no_grad():
            hidden, targets, rows = states.packed(0)
            drawn = values[sent(states.draw[0], weight.device)]
            nll = steered_nll(head, kind, weights, 1e-3, hidden, targets, drawn[rows])
        for tensor in weights.values():
            tensor.grad = torch.zeros_like(tensor)
        optimizer.step()
        assert nll.is_cuda and log.kernels and not +log.waits and not +log.mismatches


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt-neox", "gpt-j", "qwen3", "granite", "cohere", "opt-projected"])
def test_a_block_of_perplexity_waits_for_nothing(name):
    with fake_cuda() as log, torch.no_grad():
        loaded = fake_loaded(CONFIGS[name]())
        head = fake_head(loaded)
        log.clear()
        _block_nll(loaded, head, [([5, 6], [7, 8]), ([5, 6], [9]), ([4], [7, 8, 9])], 8, 4)
        assert log.kernels and not +log.waits and not +log.mismatches


def test_the_kernels_of_a_step_are_those_of_the_table():
    """workflow/docs/speed.md derives its table from these numbers."""
    counted = {}
    with fake_cuda() as log, torch.no_grad():
        for form in ("before", "after"):
            config: GPT2Config = config_of("gpt2-large")
            loaded = LoadedModel(on_fake_cuda(config), _words(config.vocab_size), "fake", "fake")
            if form == "after":
                use_one_kernel_gelu(loaded.model)
            decoder = Decoder(loaded, 160, 16, Sampling(25, 20))
            decoder._start([[5] * 12] * 160, *prefill(loaded, [[5] * 12] * 160, 16, decoder._prompts))
            log.clear()
            decoder.step()
            counted[form] = (log.kernels, log.bytes)
    assert counted["before"][0] - counted["after"][0] == 36 * 7
    assert counted["after"][1] < counted["before"][1]
