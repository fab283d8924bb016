import json
import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest
import tiny
import torch

from lm_steer import LMSteerError
from lm_steer.core.attach import attach
from lm_steer.generation import continuations as generate_module
from lm_steer.generation import decoder as decode
from lm_steer.generation.continuations import Sampling, continuations, parts_folder
from lm_steer.generation.nucleus import sample_tokens
from lm_steer.generation.way import way_of

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


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch) -> None:
    """Two prompts a block, so that a handful of prompts fills several blocks, and one in part."""
    monkeypatch.setattr(generate_module, "ROWS", 2 * SAMPLING.samples)


def run(loaded, prompts=PROMPTS, sampling=SAMPLING, parts=None) -> dict[str, list[str]]:
    return dict(zip(prompts, continuations(loaded, prompts, sampling, "test", parts), strict=True))


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


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_tokens_are_those_of_the_plain_model(make_loaded, name):
    """Token for token: each from the whole text so far, without cache, padding or batch."""
    loaded = make_loaded(name)
    made = run(loaded)
    forbidden = [*loaded.tokenizer.all_special_ids, *range(len(loaded.tokenizer), 400)]
    for prompt in PROMPTS:
        keys = generate_module._keys([prompt])
        uniforms = torch.from_numpy(generate_module._uniforms(keys, SAMPLING))
        for sample, text in enumerate(made[prompt]):
            ids = list(loaded.tokenizer(prompt)["input_ids"])
            for step in range(SAMPLING.new_tokens):
                logits = tiny.logits_of(loaded.model, torch.tensor([ids]))[:, -1]
                logits[:, [index for index in forbidden if index < logits.shape[1]]] = -torch.inf
                ids.append(sample_tokens(logits, uniforms[sample, step][None], SAMPLING.top_p).item())
            assert text == loaded.tokenizer.decode(ids)[len(prompt) :]


@pytest.fixture
def room_for(loaded) -> Callable[[int], None]:
    """Return a function that leaves memory for so many rows and no more, once the model is probed."""
    way_of(loaded)

    def limit(rows: int) -> None:
        def check(_module, inputs) -> None:
            if len(inputs[0]) > rows:
                raise torch.OutOfMemoryError(f"no room for {len(inputs[0])} rows")

        loaded.model.get_input_embeddings().register_forward_pre_hook(check)

    return limit


def test_out_of_memory_halves_the_rows_and_goes_on(loaded, monkeypatch, room_for, capsys):
    monkeypatch.setattr(generate_module, "ROWS", 6 * SAMPLING.samples)
    monkeypatch.setattr("lm_steer.generation.prefill.ROWS", 1)
    expected = run(loaded)
    room_for(2 * SAMPLING.samples)
    assert run(loaded) == expected
    said = [line for line in capsys.readouterr().err.splitlines() if "out of memory" in line]
    # The first of the blocks has five prompts, then three, then two; the second one starts from what fitted.
    assert [line.split()[4] for line in said] == [str(prompts * SAMPLING.samples) for prompts in (5, 3)]


def test_one_prompt_that_does_not_fit_the_memory_is_an_error(loaded, monkeypatch, room_for):
    monkeypatch.setattr("lm_steer.generation.prefill.ROWS", 1)
    room_for(SAMPLING.samples - 1)
    with pytest.raises(LMSteerError, match="lower the number of samples"):
        run(loaded)


@pytest.fixture
def drawn(loaded, monkeypatch) -> list[torch.Tensor]:
    """Collects every token that is sampled, from a model that is probed."""
    way_of(loaded)
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


def test_finished_blocks_are_found_again_after_a_kill(loaded, tmp_path, monkeypatch):
    expected, blocks, run_block = run(loaded), [], decode.Decoder.run

    def killed(*args) -> torch.Tensor:
        blocks.append(1)
        if len(blocks) == 3:
            raise KeyboardInterrupt
        return run_block(*args)

    with monkeypatch.context() as patch:
        patch.setattr(decode.Decoder, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            run(loaded, parts=tmp_path / "parts")
    shutil.copytree(tmp_path / "parts", tmp_path / "copy")
    with tiny.blinded(loaded.model):
        found = run(loaded, parts=tmp_path / "copy")
    # Two blocks, of one prompt each, were there; what follows a kill is made afresh.
    assert sum(found[prompt] == expected[prompt] for prompt in PROMPTS) == 2
    assert run(loaded, parts=tmp_path / "parts") == expected
    with tiny.blinded(loaded.model):
        assert run(loaded, parts=tmp_path / "parts") == expected


@pytest.mark.parametrize("change", ["null", "[[1]]", '{"texts": [[5]], "fingerprint": "a"}', "letters"])
def test_a_block_that_was_changed_is_made_again(loaded, tmp_path, capsys, change):
    sampling = Sampling(2, 4)
    whole = continuations(loaded, ["The movie"], sampling, "test", tmp_path)
    (part,) = tmp_path.iterdir()
    text = part.read_text()
    part.write_text(change if change != "letters" else text.replace(json.loads(text)["texts"][0][0][-1], "§", 1))
    assert continuations(loaded, ["The movie"], sampling, "test", tmp_path) == whole
    assert f"{part} is damaged: generating its continuations again" in capsys.readouterr().err


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
    with pytest.raises(LMSteerError, match="do not fit in the model's context of 64"):
        run(loaded, [PROMPTS[0], prompt_of(loaded, longest(loaded) + 1)])


@pytest.mark.parametrize("name", ["gpt2", "llama-padded-vocabulary", "gpt-j", "opt-projected"])
def test_the_longest_prompt_that_fits_is_taken(make_loaded, name):
    loaded = make_loaded(name)
    prompt = prompt_of(loaded, longest(loaded))
    assert len(run(loaded, [prompt])[prompt]) == SAMPLING.samples


def test_an_empty_prompt_is_refused(loaded):
    with pytest.raises(LMSteerError, match="no token"):
        run(loaded, [""])
