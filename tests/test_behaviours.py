"""What people do with a steered model, each on several architectures: it acts inside the `with`, and not outside."""

from collections.abc import Callable
from threading import Thread

import pytest
import tiny
import torch
from accelerate import cpu_offload
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel, TextIteratorStreamer, pipeline

MODELS = ("gpt2", "llama-padded-vocabulary", "gpt-neox", "opt-projected", "gemma2", "granite")
NEW = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 1}
PROMPT = "The movie was"


def ids_of(text: str) -> torch.Tensor:
    return tiny.make_tokenizer()(text, return_tensors="pt")["input_ids"]


def generated(model: PreTrainedModel, **options) -> str:
    ids = ids_of(PROMPT)
    rows = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **NEW, **options)
    return str(rows.tolist())


def piped(model: PreTrainedModel) -> str:
    pipe = pipeline("text-generation", model=model, tokenizer=tiny.make_tokenizer())
    return pipe(PROMPT, **NEW)[0]["generated_text"]


def streamed(model: PreTrainedModel) -> str:
    streamer = TextIteratorStreamer(tiny.make_tokenizer(), timeout=30)
    ids = ids_of(PROMPT)
    options = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "streamer": streamer, **NEW}
    thread = Thread(target=model.generate, kwargs=options)
    thread.start()
    text = "".join(streamer)
    thread.join()
    return text


BEHAVIOURS: dict[str, Callable[[PreTrainedModel], str]] = {
    "greedy": generated,
    "beams": lambda model: generated(model, num_beams=3, num_return_sequences=2),
    "static cache": lambda model: generated(model, cache_implementation="static"),
    "no cache": lambda model: generated(model, use_cache=False),
    "pipeline": piped,
    "streaming": streamed,
}


@pytest.fixture(params=MODELS)
def model(request) -> PreTrainedModel:
    return tiny.make_model(request.param)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_steer_acts_inside_and_not_outside(model, behaviour):
    run = BEHAVIOURS[behaviour]
    plain = run(model)
    steer = tiny.make_steer(model, epsilon=0.2)
    with steer.attach(model).at(style=5):
        steered = run(model)
        # The tokens are those of the plainest way to generate, with the steer in place.
        if behaviour in ("no cache", "static cache"):
            assert steered == generated(model)
    assert steered != plain
    assert run(model) == plain


def logits_at(model, steer, ids, **values) -> torch.Tensor:
    with steer.attach(model).at(**values):
        return tiny.logits_of(model, ids)


def test_sampled_rows_have_their_values(model):
    ids, steer = ids_of(PROMPT).repeat(2, 1), tiny.make_steer(model, epsilon=0.2)

    def sampled(handle, **values) -> list[list[int]]:
        torch.manual_seed(0)
        with handle.at(**values):
            return model.generate(
                ids, attention_mask=torch.ones_like(ids), num_return_sequences=2, **NEW | {"do_sample": True}
            ).tolist()

    handle = steer.attach(model)
    mixed = sampled(handle, style=[0, 5])
    assert mixed[:2] == sampled(handle, style=0)[:2]
    assert mixed[2:] == sampled(handle, style=5)[2:]


def test_a_model_with_a_lora_is_steered_on_top(model, ids):
    steer = tiny.make_steer(model)
    plain = tiny.logits_of(model, ids)
    layers = [name for name, module in model.named_modules() if type(module).__name__ in ("Linear", "Conv1D")]
    inner = [name for name in layers if name.rsplit(".", 1)[-1] not in ("lm_head", "embed_out")][:2]
    wrapped = get_peft_model(model, LoraConfig(target_modules=inner, init_lora_weights=False, r=2))
    adapted = tiny.logits_of(wrapped, ids)
    steered = logits_at(wrapped, steer, ids, style=3)
    assert not torch.allclose(adapted, plain) and not torch.allclose(steered, adapted)
    assert torch.equal(tiny.logits_of(wrapped, ids), adapted)
    with steer.attach(wrapped).at(style=3), wrapped.disable_adapter():
        alone = tiny.logits_of(wrapped, ids)
    torch.testing.assert_close(alone, logits_at(tiny.make_model(model_name(model)), steer, ids, style=3))


def model_name(model: PreTrainedModel) -> str:
    return next(name for name in MODELS if tiny.CONFIGS[name]().model_type == model.config.model_type)


@pytest.mark.parametrize("name", ["llama", "opt-projected", "gpt-neox"])
def test_a_quantised_model_is_steered(name, ids):
    model = tiny.make_model(name)
    steer = tiny.make_steer(model)
    expected = logits_at(model, steer, ids, style=3) - tiny.logits_of(model, ids)
    quantised = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    assert not isinstance(quantised.get_output_embeddings().weight, torch.Tensor), "the head is quantised too"
    plain = tiny.logits_of(quantised, ids)
    difference = logits_at(quantised, steer, ids, style=3) - plain
    # As near as eight bits let the logits be.
    assert torch.corrcoef(torch.stack([difference.flatten(), expected.flatten()]))[0, 1] > 0.98
    assert torch.equal(tiny.logits_of(quantised, ids), plain)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_weights_that_come_only_when_they_are_used(model, kind, ids):
    steer = tiny.make_steer(model, kind)
    expected = logits_at(model, steer, ids, style=3)
    steer.attach(model).remove()
    cpu_offload(model, execution_device=torch.device("cpu"))
    assert model.get_output_embeddings().weight.is_meta
    plain = tiny.logits_of(model, ids)
    torch.testing.assert_close(logits_at(model, steer, ids, style=3), expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(tiny.logits_of(model, ids), plain)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_half_precision_before_and_after_attaching(model, kind, ids):
    steer = tiny.make_steer(model, kind)
    expected = logits_at(model, steer, ids, style=1)
    handle = steer.attach(model)
    model.to(torch.bfloat16)
    with handle.at(style=1):
        after = tiny.logits_of(model, ids)
    handle.remove()
    with steer.attach(model).at(style=1):
        assert torch.equal(tiny.logits_of(model, ids), after)
    assert after.dtype == torch.bfloat16
    correlation = torch.corrcoef(torch.stack([after.float().flatten(), expected.flatten()]))[0, 1]
    assert correlation > 0.99
    model.to(torch.float32)
    with steer.attach(model).at(style=1):
        assert tiny.logits_of(model, ids).dtype == torch.float32


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_a_handle_goes_along_to_another_device(model, kind):
    # The device without memory stands for any other: a tensor left behind on the CPU would be an error there too.
    handle = tiny.make_steer(model, kind).attach(model)
    head = model.get_output_embeddings().to("meta")
    with handle.at(style=[1, 2, 3]):
        logits = head(torch.zeros(3, 7, head.weight.shape[1], device="meta"))
    assert logits.device.type == handle.values.device.type == "meta"
