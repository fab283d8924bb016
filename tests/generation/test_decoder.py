"""What a GPU captures, as far as a CPU shows it: the step is traced whole, and traced it draws the same tokens."""

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import torch

from lm_steer.generation.capture import DIFFERENCE, same_draw
from lm_steer.generation.decoder import Decoder
from lm_steer.generation.nucleus import Sampling, first_inside, tries
from lm_steer.generation.prefill import continued_states
from lm_steer.generation.way import _continues, _samples
from lm_steer.model.head import forward_as
from lm_steer.model.kernels import NAME
from lm_steer.model.probe import holds

SAMPLING = Sampling(samples=3, new_tokens=5)


@contextmanager
def shared_attention(model) -> Iterator[None]:
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def uniforms(rows: int) -> torch.Tensor:
    return torch.rand(rows, SAMPLING.new_tokens, tries(SAMPLING.top_p), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt-neox", "granite", "opt-projected"])
def test_prompts_that_are_shared_give_the_tokens_of_those_that_are_repeated(make_loaded, name):
    loaded = make_loaded(name)
    ids = loaded.token_ids(["The movie", "A warm and funny", "It"])
    expected = Decoder(loaded, 3, 32, SAMPLING).run(ids, uniforms(9))
    with shared_attention(loaded.model):
        decoder = Decoder(loaded, 3, 32, SAMPLING, way="shared")
        assert torch.equal(decoder.run(ids, uniforms(9)), expected)
        # The same buffers for another block, of fewer prompts.
        assert torch.equal(decoder.run(ids[1:], uniforms(9)[3:]), expected[1:])


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt-neox", "granite", "opt-projected"])
def test_continuations_that_share_a_prompt_have_the_states_of_those_that_have_a_copy(make_loaded, name):
    loaded = make_loaded(name)
    first, second, third = loaded.token_ids(["The movie", "A warm and funny", " film of a kind"])
    pairs = [(first, third), (second, first), (first, second[:1]), (third, second)]
    expected = continued_states(loaded, pairs, 12, 12)
    with shared_attention(loaded.model):
        states = continued_states(loaded, pairs, 12, 12, shared=True)
    for row, other, (_, ids) in zip(states, expected, pairs, strict=True):
        torch.testing.assert_close(row[: len(ids)], other[: len(ids)])


def test_the_probe_keeps_prompts_apart_where_attention_is_another(make_loaded):
    loaded = make_loaded("llama")
    assert _samples(loaded, "static") and not holds(lambda: _samples(loaded, "shared"))
    assert _continues(loaded) and not holds(lambda: _continues(loaded, shared=True))
    with shared_attention(loaded.model):
        assert _samples(loaded, "shared") and _continues(loaded, shared=True)


def test_the_draw_without_a_wait_is_traced_whole():
    probabilities = torch.randn(8, 40, generator=torch.Generator().manual_seed(0)).softmax(-1)
    draws = torch.randint(40, (8, 16), generator=torch.Generator().manual_seed(1))
    limit = torch.full((8, 1), 0.9)
    traced = torch.compile(first_inside, backend="eager", fullgraph=True)
    assert torch.equal(traced(probabilities, draws, limit), first_inside(probabilities, draws, limit))


def test_one_new_token_needs_no_step(loaded):
    one = Sampling(samples=3, new_tokens=1)
    decoder = Decoder(loaded, 2, 32, one)
    decoder.step = None
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


def test_a_graph_that_draws_otherwise_is_not_taken():
    logits = torch.randn(100, 50, generator=torch.Generator().manual_seed(0))
    logits[:, 3] = -torch.inf
    tokens = logits.argmax(1, keepdim=True)
    assert same_draw((logits + 1e-4, tokens), (logits, tokens), DIFFERENCE)
    # A steer that is left out, however weak; a token that turned; and what is no number.
    assert not same_draw((logits * 1.05, tokens), (logits, tokens), DIFFERENCE)
    assert not same_draw((logits, tokens.roll(1)), (logits, tokens), DIFFERENCE)
    for wrong in (torch.nan, torch.inf):
        assert not same_draw((logits.clone().index_fill_(1, torch.tensor([5]), wrong), tokens), (logits, tokens), 1.0)


@pytest.mark.parametrize("fails", [False, True])
def test_a_forward_pass_in_the_place_of_another_gives_way_again(loaded, fails):
    head = loaded.model.get_output_embeddings()
    hidden = torch.ones(1, head.in_features)
    expected = head(hidden)
    with suppress(KeyError), forward_as(head, lambda _: torch.zeros(1)):
        assert head(hidden) == 0
        if fails:
            raise KeyError
    assert torch.equal(head(hidden), expected) and "forward" not in head.__dict__
