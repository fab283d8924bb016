from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from scipy.stats import chisquare
from transformers import TopKLogitsWarper, TopPLogitsWarper

from lm_steer import LMSteerError, decode
from lm_steer import generate as generate_module
from lm_steer.attach import attach
from lm_steer.generate import Sampling, generate, parts_folder
from lm_steer.sample import sample_tokens, tries

PROMPTS = [
    "The movie",
    "What a waste of time; the plot makes no sense at all. The acting",
    "A warm",
    "Nobody in this",
    "The film is dull,",
    "The music is better than that. The family will love the music and the plot and the acting and",
    "A",
]
SAMPLING = Sampling(samples=3, new_tokens=8, top_p=0.9)
DRAWS = 40_000


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch) -> None:
    """Two prompts a block, so that a handful of prompts fills several blocks, and one in part."""
    monkeypatch.setattr(generate_module, "ROWS", 2 * SAMPLING.samples)


def reference(logits: torch.Tensor, top_p: float, top_k: int) -> torch.Tensor:
    """Probabilities after the warpers of transformers, in its order; they sort the vocabulary."""
    ids = torch.zeros(len(logits), 1, dtype=torch.long)
    if top_k:
        logits = TopKLogitsWarper(top_k)(ids, logits)
    if top_p < 1:
        logits = TopPLogitsWarper(top_p)(ids, logits)
    return logits.softmax(-1)


def frequencies(logits: torch.Tensor, top_p: float, top_k: int, seed: int = 0) -> torch.Tensor:
    uniforms = torch.from_numpy(np.random.default_rng(seed).random((DRAWS, tries(top_p))))
    tokens = sample_tokens(logits.expand(DRAWS, -1), uniforms, top_p, top_k)
    return torch.bincount(tokens, minlength=logits.shape[-1])


@pytest.mark.parametrize("top_k", [0, 1, 5, 12, 100])
@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.5, 0.2, 0.05])
@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
def test_tokens_follow_the_distribution_of_the_nucleus(top_p, top_k, spread):
    logits = torch.randn(1, 30, generator=torch.Generator().manual_seed(0)) * spread
    expected = reference(logits, top_p, top_k)[0]
    found = frequencies(logits, top_p, top_k)
    assert found[expected == 0].sum() == 0
    support = expected > 0
    # Cells with few expected draws go together, as the test of fit asks for.
    order = expected[support].argsort(descending=True)
    wanted, got = expected[support][order].double() * DRAWS, found[support][order]
    many = wanted >= 20
    if many.sum() < 2:
        return
    wanted = torch.cat([wanted[many], wanted[~many].sum()[None]])
    got = torch.cat([got[many], got[~many].sum()[None]])
    keep = wanted > 0
    assert chisquare(got[keep], wanted[keep] * (got.sum() / wanted.sum())).pvalue > 1e-4


def test_every_token_of_the_nucleus_can_be_drawn_and_no_other():
    logits = torch.tensor([[3.0, 2.9, 2.0, 1.0, 0.5, -1.0, -3.0, -9.0]])
    for top_p in (0.3, 0.6, 0.8, 0.95):
        support = (reference(logits, top_p, 0) > 0)[0]
        assert torch.equal(frequencies(logits, top_p, 0) > 0, support)


def test_each_row_draws_from_its_own_distribution():
    logits = torch.full((3, 6), -torch.inf)
    logits[[0, 1, 2], [5, 0, 3]] = 0.0
    uniforms = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    assert sample_tokens(logits, uniforms, top_p=0.9).tolist() == [5, 0, 3]


@pytest.mark.parametrize("top_p", [1.0, 0.9])
@pytest.mark.parametrize("uniform", [0.0, np.nextafter(1.0, 0.0)])
def test_a_forbidden_token_is_not_drawn_at_the_ends_of_the_range(top_p, uniform):
    logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(0))
    logits[0, [0, -1]] = -torch.inf
    uniforms = torch.full((1, 4), uniform, dtype=torch.float64)
    assert sample_tokens(logits, uniforms, top_p).item() not in (0, 49)


def run(loaded, prompts=PROMPTS, sampling=SAMPLING, parts=None) -> dict[str, list[str]]:
    return dict(zip(prompts, generate(loaded, prompts, sampling, "test", parts), strict=True))


@pytest.mark.parametrize("name", ["gpt2", "llama-padded-vocabulary", "opt-projected", "gemma2"])
@pytest.mark.parametrize("chosen", [PROMPTS[::-1], PROMPTS[:1], PROMPTS[5:], PROMPTS[1:6:2]])
def test_samples_depend_on_their_prompt_alone(make_loaded, name, chosen):
    loaded = make_loaded(name)
    everything = run(loaded)
    assert run(loaded, chosen) == {prompt: everything[prompt] for prompt in chosen}


def test_samples_do_not_depend_on_the_length_of_the_continuation(loaded):
    short, long = run(loaded), run(loaded, sampling=replace(SAMPLING, new_tokens=12))
    for prompt in PROMPTS:
        for one, other in zip(short[prompt], long[prompt], strict=True):
            assert other.startswith(one.rstrip("\ufffd"))


def test_samples_of_one_prompt_and_seeds_differ(loaded):
    first, other = run(loaded), run(loaded, sampling=replace(SAMPLING, seed=1))
    assert all(len(set(samples)) == len(samples) for samples in first.values())
    assert all(set(first[prompt]).isdisjoint(other[prompt]) for prompt in PROMPTS)


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_top_1_is_the_greedy_continuation_without_padding_or_cache(make_loaded, name):
    loaded = make_loaded(name)
    made = run(loaded, sampling=replace(SAMPLING, top_k=1))
    forbidden = [*loaded.tokenizer.all_special_ids, *range(len(loaded.tokenizer), 400)]
    for prompt in PROMPTS:
        start = loaded.tokenizer(prompt)["input_ids"]
        ids = list(start)
        for _ in range(SAMPLING.new_tokens):
            logits = tiny.logits_of(loaded.model, torch.tensor([ids]))[0, -1]
            logits[[index for index in forbidden if index < len(logits)]] = -torch.inf
            ids.append(logits.argmax().item())
        assert made[prompt] == [loaded.tokenizer.decode(ids)[len(prompt) :]] * SAMPLING.samples


@pytest.fixture
def drawn(monkeypatch) -> list[torch.Tensor]:
    """Collects every token that is sampled."""
    tokens: list[torch.Tensor] = []

    def record(*args, **kwargs) -> torch.Tensor:
        tokens.append(sample_tokens(*args, **kwargs))
        return tokens[-1]

    monkeypatch.setattr(decode, "sample_tokens", record)
    return tokens


def test_neither_special_ids_nor_padding_of_the_vocabulary_are_drawn(loaded, drawn):
    tokenizer, head = loaded.tokenizer, loaded.model.get_output_embeddings()
    vocabulary = len(head.weight)
    assert vocabulary > len(tokenizer)
    # A steer that would make nothing but special tokens and padding, were they allowed.
    steer = tiny.make_steer(loaded.model, "offset", dimensions=("bad",), epsilon=1.0)
    steer.weights["o"].zero_()
    steer.weights["o"][0, [*tokenizer.all_special_ids, *range(len(tokenizer), vocabulary)]] = 1.0
    with attach(loaded.model, steer).at(bad=1000):
        run(loaded, sampling=replace(SAMPLING, top_p=1.0))
    tokens = torch.cat(drawn)
    assert not torch.isin(tokens, torch.tensor(tokenizer.all_special_ids)).any()
    assert tokens.max() < len(tokenizer)


def test_exactly_as_many_tokens_as_asked(loaded, drawn):
    run(loaded, PROMPTS[:1])
    assert len(drawn) == SAMPLING.new_tokens


def test_a_continuation_is_what_the_tokens_add_to_the_prompt(loaded):
    """The most probable token is made to be ` the`, a word with its leading space."""
    steer = tiny.make_steer(loaded.model, "offset", dimensions=("the",), epsilon=1.0)
    (the,) = loaded.tokenizer(" the")["input_ids"]
    steer.weights["o"].zero_()[0, the] = 1.0
    with attach(loaded.model, steer).at(the=1000):
        made = run(loaded)
    assert all(samples == [" the" * SAMPLING.new_tokens] * SAMPLING.samples for samples in made.values())


def test_a_steer_shows_and_value_zero_does_not(loaded):
    unsteered = run(loaded)
    handle = attach(loaded.model, tiny.make_steer(loaded.model))
    assert run(loaded) == unsteered
    with handle.at(style=4):
        assert run(loaded) != unsteered


@pytest.fixture
def passes(loaded) -> list[int]:
    """Grows by one with each pass through the model."""
    found: list[int] = []
    loaded.model.get_input_embeddings().register_forward_hook(lambda *_: found.append(1))
    return found


def test_finished_blocks_are_found_again_after_a_kill(loaded, tmp_path, monkeypatch, passes):
    expected = run(loaded)
    whole = len(passes)
    blocks: list[int] = []

    def killed(*args) -> torch.Tensor:
        blocks.append(1)
        if len(blocks) == 3:
            raise KeyboardInterrupt
        return run_block(*args)

    run_block = decode.Decoder.run
    with monkeypatch.context() as patch:
        patch.setattr(decode.Decoder, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            run(loaded, parts=tmp_path)
    passes.clear()
    assert run(loaded, parts=tmp_path) == expected
    assert len(passes) == whole - 2 * SAMPLING.new_tokens
    passes.clear()
    assert run(loaded, parts=tmp_path) == expected
    assert not passes


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"top_p": 0.8}, {"top_k": 5}, {"samples": 4}, {"new_tokens": 9}], ids=str
)
def test_parts_of_another_sampling_are_kept_apart(loaded, tmp_path, change):
    other = replace(SAMPLING, **change)
    assert parts_folder(tmp_path, loaded, [], SAMPLING) != parts_folder(tmp_path, loaded, [], other)


def test_parts_of_another_steer_or_model_are_kept_apart(loaded, make_loaded, tmp_path):
    folders = [
        parts_folder(tmp_path, loaded, [], SAMPLING),
        parts_folder(tmp_path, loaded, [["sha", {"style": 1.0}]], SAMPLING),
        parts_folder(tmp_path, loaded, [["sha", {"style": 2.0}]], SAMPLING),
        parts_folder(tmp_path, make_loaded("llama"), [], SAMPLING),
    ]
    assert len(set(folders)) == len(folders)


def prompt_of(loaded, length: int) -> str:
    prompt = " the" * length
    assert len(loaded.tokenizer(prompt)["input_ids"]) == length
    return prompt


def longest(loaded) -> int:
    return loaded.model.config.max_position_embeddings - SAMPLING.new_tokens


def test_a_prompt_that_does_not_fit_the_context_is_refused(loaded):
    with pytest.raises(LMSteerError, match="do not fit the model's context of 64"):
        run(loaded, [PROMPTS[0], prompt_of(loaded, longest(loaded) + 1)])


@pytest.mark.parametrize("name", ["gpt2", "llama-padded-vocabulary", "gpt-j", "opt-projected"])
def test_the_longest_prompt_that_fits_is_taken(make_loaded, name):
    loaded = make_loaded(name)
    prompt = prompt_of(loaded, longest(loaded))
    assert len(run(loaded, [prompt])[prompt]) == SAMPLING.samples


def test_an_empty_prompt_is_refused(loaded):
    with pytest.raises(LMSteerError, match="no token"):
        run(loaded, [""])
