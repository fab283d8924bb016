"""What a GPU captures, as far as a CPU shows it: the step is traced whole, and traced it draws the same tokens."""

import gc
import weakref

import tiny
import torch

from lm_steer.core.attach import attach
from lm_steer.generation.decoder import Decoder, same_logits
from lm_steer.generation.nucleus import Sampling, first_inside, tries

SAMPLING = Sampling(samples=3, new_tokens=5)


def uniforms(rows: int) -> torch.Tensor:
    return torch.rand(rows, SAMPLING.new_tokens, tries(SAMPLING.top_p), generator=torch.Generator().manual_seed(0))


def test_a_traced_step_with_a_steer_on_draws_the_tokens_of_the_plain_one(loaded):
    ids = loaded.token_ids(["The movie", "A warm and funny"])
    with attach(loaded.model, tiny.make_steer(loaded.model)).at(style=3):
        plain, traced = (Decoder(loaded, 2, 32, SAMPLING) for _ in range(2))
        traced.forward = torch.compile(loaded.model.forward, backend="eager", dynamic=False, fullgraph=True)
        # The second block finds the buffers as the first has left them.
        for block in (ids, ids[::-1]):
            expected = plain.run(block, uniforms(6))
            assert torch.equal(traced.run(block, uniforms(6)), expected)


def test_the_draw_without_a_wait_is_traced_whole():
    probabilities = torch.randn(8, 40, generator=torch.Generator().manual_seed(0)).softmax(-1)
    draws = torch.randint(40, (8, 16), generator=torch.Generator().manual_seed(1))
    limit = torch.full((8, 1), 0.9)
    traced = torch.compile(first_inside, backend="eager", fullgraph=True)
    assert torch.equal(traced(probabilities, draws, limit), first_inside(probabilities, draws, limit))


def test_one_new_token_needs_no_step(loaded):
    one = Sampling(samples=3, new_tokens=1)
    decoder = Decoder(loaded, 2, 32, one)
    decoder.forward = None
    assert decoder.run(loaded.token_ids(["The movie", "A warm and funny"]), uniforms(6)[:, :1]).shape == (2, 3, 1)


def test_a_decoder_that_nobody_holds_gives_its_memory_back_at_once(loaded):
    decoder = Decoder(loaded, 2, 32, SAMPLING)
    decoder.run(loaded.token_ids(["The movie", "A warm and funny"]), uniforms(6))
    left = weakref.ref(decoder)
    # Where it referred to itself, its cache would stay until the collector comes by: gigabytes in a long job.
    gc.disable()
    try:
        del decoder
        assert left() is None
    finally:
        gc.enable()


def test_logits_of_a_graph_that_are_not_numbers_are_not_those_of_the_plain_step():
    expected = torch.tensor([[1.0, -torch.inf, 3.0]])
    assert same_logits(torch.tensor([[1.0005, -torch.inf, 3.0]]), expected, 1e-3)
    for wrong in (torch.nan, torch.inf, -torch.inf, 1.1):
        assert not same_logits(torch.tensor([[wrong, -torch.inf, 3.0]]), expected, 1e-3)
