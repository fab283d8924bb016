"""Answers to prompts, pairs and several labels, as a training takes them."""

import pandas as pd
import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import lm_steer
from lm_steer import LMSteerError, Steer
from lm_steer.data.examples import examples
from lm_steer.model.head import head_of
from lm_steer.model.hidden_cache import DrawnStates, HiddenMemo
from lm_steer.model.load import LoadedModel
from lm_steer.training.learn import Recipe, learn, steered_nll
from lm_steer.training.texts import LabelledTexts, of_frame

ROWS = [
    {"prompt": "What is the film?", "completion": "A joy to watch.", "label": 1},
    {"prompt": "What is the film?", "completion": "Dull and slow.", "label": -1},
    {"prompt": "And the music?", "completion": "Warm and funny.", "label": 0.5},
    {"prompt": "And the plot?", "completion": "It makes no sense.", "label": -1},
]
PAIRS = [
    {"prompt": "What is the film?", "chosen": "A joy to watch.", "rejected": "Dull and slow."},
    {"prompt": "And the music?", "chosen": "Warm and funny.", "rejected": "Far too long."},
]
FEW = {"rank": 2, "steps": 4, "batch_size": 2, "epsilon": 0.05}


@pytest.fixture
def chat(loaded) -> LoadedModel:
    return LoadedModel(loaded.model, tiny.make_chat_tokenizer(), loaded.fingerprint, loaded.name)


@pytest.fixture
def tokenizer():
    return tiny.make_chat_tokenizer()


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.parametrize("templated", [False, True])
def test_the_loss_of_a_completion_and_its_gradients_are_those_of_autograd(chat, tmp_path, kind, templated):
    """Against the model's own logits, by full autograd, with the prompt's labels at -100."""
    chat.tokenizer.pad_token = "<eos>"
    frame = pd.DataFrame(ROWS).rename(columns={"completion": "text"})
    texts = of_frame(frame, ["label"], chat.tokenizer, templated)
    memo = HiddenMemo(tmp_path / "hidden.sqlite", chat, 64)
    states = DrawnStates(memo, texts.prompts, texts.texts, torch.arange(len(texts))[None], "test")
    steer = tiny.make_steer(chat.model, kind)
    head, values = head_of(chat.model), texts.values(steer.dimensions)

    weights = {name: weight.clone().requires_grad_() for name, weight in steer.weights.items()}
    hidden, targets, rows = states.packed(0)
    steered_nll(head, kind, weights, steer.epsilon, hidden, targets, values[rows]).sum().backward()

    plain = {name: weight.clone().requires_grad_() for name, weight in steer.weights.items()}
    total, tokens = torch.zeros(()), 0
    for prompt, text, value in zip(texts.prompts, texts.texts, values, strict=True):
        ids = chat.tokenizer(prompt + text, return_tensors="pt")["input_ids"]
        given = len(chat.tokenizer(prompt)["input_ids"])
        with torch.no_grad():
            h = chat.model.model(ids).last_hidden_state
        scaled = steer.epsilon * value
        if kind == "multiply":
            h = h + sum(s * (h @ b) @ a.T for s, a, b in zip(scaled, plain["A"], plain["B"], strict=True))
        logits = h @ head.weight.T if kind != "add" else (h + scaled @ plain["a"]) @ head.weight.T
        logits = logits + scaled @ plain["o"] if kind == "offset" else logits
        labels = ids.clone()
        labels[:, :given] = -100
        total = total + torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:], reduction="sum")
        tokens += ids.shape[1] - given
    total.backward()
    assert len(targets) == tokens
    for name in weights:
        torch.testing.assert_close(weights[name].grad, plain[name].grad, rtol=1e-3, atol=1e-5)


def test_what_a_prompt_says_is_not_learned(chat, tmp_path):
    """A loss over the prompt's tokens too would differ with them in its number of tokens."""
    recipe = Recipe(("style", "corpus"), rank=2, steps=1, batch_size=1)
    for prompt in ("", "The ", "The plot of the film is what the family knows, "):
        texts = LabelledTexts(["The movie was a joy."], [1.0], [prompt] if prompt else [])
        _, log = learn(chat, texts, texts, recipe, tmp_path)
        expected = len(chat.tokenizer("The movie was a joy.")["input_ids"])
        assert log[1]["tokens"] == expected - (not prompt)


def test_a_model_from_python_gives_the_same_steer_as_by_folder(tmp_path, chat, tokenizer):
    from lm_steer.model.load import load_model
    from lm_steer.model.obtain import folder_of

    chat.model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    own = lm_steer.train(model, AutoTokenizer.from_pretrained(tmp_path / "model"), ROWS, chat=True, **FEW)
    loaded = load_model(folder_of(tmp_path / "model", tmp_path / "cache"), device="cpu")
    other = lm_steer.train(loaded.model, loaded.tokenizer, ROWS, chat=True, cache=tmp_path / "cache", **FEW)
    assert all(torch.equal(own.weights[name], other.weights[name]) for name in "AB")


def test_messages_are_templated_and_pairs_are_two_texts_of_one_prompt(loaded, tokenizer):
    as_messages = [
        {
            "messages": [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["completion"]},
            ],
            "label": row["label"],
        }
        for row in ROWS
    ]
    by_prompt = of_frame(examples(pd.DataFrame(ROWS), "rows"), ["label"], tokenizer, chat=True)
    assert of_frame(examples(pd.DataFrame(as_messages), "rows"), ["label"], tokenizer) == by_prompt
    pairs = lm_steer.train(loaded.model, tokenizer, PAIRS, **FEW)
    assert pairs.about["texts"] == 2 and isinstance(pairs, Steer)


def test_several_labels_are_values_of_their_dimensions_and_what_is_missing_is_off():
    frame = pd.DataFrame({"text": ["a", "b"], "warmth": [1.0, float("nan")], "length": [-0.5, 1.0]})
    texts = of_frame(frame, ["warmth", "length"], tiny.make_tokenizer())
    assert texts.values(("warmth", "corpus", "length")).tolist() == [[1, 1, -0.5], [0, 1, 1]]


def test_two_attributes_are_learned_together_and_pairs_without_a_text_are_told(loaded, capsys):
    rows = [
        {"text": "The movie was a joy to watch.", "warmth": 1, "length": 1},
        {"text": "A warm and funny story.", "warmth": 1, "length": None},
        {"text": "The film is dull and slow, far too long.", "warmth": -1, "length": 1},
        {"text": "What a waste of time.", "warmth": -1, "length": -1},
    ]
    dimensions = ("warmth", "length", "corpus")
    steer = lm_steer.train(loaded.model, tiny.make_tokenizer(), rows, dimensions=dimensions, **FEW)
    assert steer.dimensions == dimensions
    assert "no text has warmth above 0 with length below 0: only the sum" in capsys.readouterr().err


@pytest.mark.parametrize(
    "rows, options, message",
    [
        (ROWS, {"loss_on_padding": True}, "loss_on_padding is for texts without prompts"),
        (ROWS, {"dimensions": ("warmth", "length")}, "texts has no column 'warmth'"),
        ([{**PAIRS[0], "rejected": "A joy to watch."}], {}, "row 1: chosen and rejected are the same"),
        ([{"text": "a b"}, {"text": "c d"}], {}, "no column 'label'"),
        ([{"text": "a b", "label": 1}, {"text": "c d", "label": -1}], {"chat": True}, "has no prompt: give"),
        ([{"messages": [{"role": "user", "content": "a"}], "label": 1}], {}, "last message of 'assistant'"),
        (["a b", "c d"], {}, "give a label for each, or rows"),
        (
            [{**row, "prompt": row["completion"] + "why " * 90} for row in ROWS],
            {"max_length": 20},
            "has a token after its prompt",
        ),
    ],
)
def test_rows_that_do_not_serve_are_named(loaded, tokenizer, rows, options, message):
    with pytest.raises(LMSteerError, match=message):
        lm_steer.train(loaded.model, tokenizer, rows, **FEW, **options)
