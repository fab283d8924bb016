from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from transformers import (
    AutoModelForSequenceClassification,
    DebertaV2Config,
    DistilBertConfig,
    GPT2Config,
    PretrainedConfig,
    RobertaConfig,
)

from lm_steer import LMSteerError
from lm_steer.model.load import load_classifier
from lm_steer.model.obtain import obtain
from lm_steer.score import classification as module
from lm_steer.score.classification import longest
from lm_steer.score.kinds.classifier import Classifier, presets
from lm_steer.score.registry import make as make_kind
from lm_steer.score.store import Item, Scorer, ScoreStore

_SIZES = {
    "vocab_size": tiny.VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "pad_token_id": 1,
}
CONFIGS: dict[str, Callable[..., PretrainedConfig]] = {
    "distilbert": lambda **more: DistilBertConfig(
        vocab_size=tiny.VOCABULARY, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=48, **more
    ),
    "roberta": lambda **more: RobertaConfig(**_SIZES, max_position_embeddings=50, type_vocab_size=1, **more),
    "deberta": lambda **more: DebertaV2Config(
        **_SIZES, max_position_embeddings=48, relative_attention=True, pos_att_type=["p2c", "c2p"], **more
    ),
    "gpt2": lambda **more: GPT2Config(**tiny._GPT, **more),
}
THREE = {"id2label": {0: "calm", 1: "Toxic", 2: "joking"}, "label2id": {"calm": 0, "Toxic": 1, "joking": 2}}
ITEMS = [Item("He said", f" {sentence[:end]}") for sentence in tiny.SENTENCES for end in (3, 11, 20, 41)]


@pytest.fixture
def make(tmp_path) -> Callable[..., Path]:
    """Return a function (family, config) → the folder of a random classifier, obtained as any other is."""

    def build(family: str = "roberta", /, **more) -> Path:
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(CONFIGS[family](**{**THREE, **more}))
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(0, 0.5)
        model.save_pretrained(tmp_path / "my judge")
        tiny.make_tokenizer().save_pretrained(tmp_path / "my judge")
        obtain("folder", str(tmp_path / "my judge"), tmp_path / "model")
        return tmp_path / "model"

    return build


def classifier(folder: Path, **keys: str) -> Scorer:
    return make_kind("classifier", keys).scorer(str(folder))


def judged(scorer, items) -> list[float]:
    answers = dict(scorer.judge(items))
    return [answers[index][0] for index in range(len(items))]


def logits_of(folder: Path, text: str) -> torch.Tensor:
    """The classifier's own logits for one text without padding."""
    loaded = load_classifier(folder, device="cpu")
    ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
    return loaded.model(input_ids=ids).logits[0].detach()


@pytest.mark.parametrize("family", CONFIGS)
def test_scores_equal_the_models_own_answer_to_each_text_alone(make, family):
    folder = make(family)
    found = judged(classifier(folder, label="toxic", attribute="toxicity"), ITEMS)
    expected = [logits_of(folder, item.continuation).softmax(-1)[1].item() for item in ITEMS]
    assert found == pytest.approx(expected, abs=1e-5)
    assert max(found) - min(found) > 0.05


@pytest.mark.parametrize("family", CONFIGS)
def test_a_score_does_not_depend_on_what_else_is_scored(make, family, monkeypatch):
    monkeypatch.setitem(module.TOKENS, "cpu", 64)
    scorer = classifier(make(family), label="toxic", attribute="toxicity")
    together = judged(scorer, ITEMS)
    assert judged(scorer, ITEMS[::-1])[::-1] == together
    assert [judged(scorer, [item])[0] for item in ITEMS] == together


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("softmax", lambda logits: logits.softmax(-1)[2]),
        ("sigmoid", lambda logits: logits[2].sigmoid()),
        ("none", lambda logits: logits[2]),
    ],
)
def test_label_and_activation_say_how_the_answer_is_read(make, activation, expected):
    folder = make()
    scorer = classifier(folder, label="joking", activation=activation, attribute="toxicity")
    assert judged(scorer, ITEMS[:1])[0] == pytest.approx(expected(logits_of(folder, " The")).item(), abs=1e-5)
    assert scorer.version.startswith(f"my judge joking {activation} ")


def test_sentiment_is_that_of_prompt_and_continuation_and_toxicity_of_the_continuation(make):
    folder = make()
    sentiment, toxic = (classifier(folder, label="calm", attribute=measure) for measure in ("sentiment", "toxicity"))
    split = [Item("The movie", " was a joy"), Item("The", " movie was a joy")]
    assert len(set(judged(sentiment, split))) == 1 < len(set(judged(toxic, split)))
    assert (sentiment.attributes, toxic.attributes) == (("positive",), ("toxicity",))
    assert toxic.text(Item("a", "")) == "\n"


@pytest.mark.parametrize("family", CONFIGS)
def test_a_text_is_cut_at_the_models_limit(make, family, capsys):
    folder = make(family)
    scorer = classifier(folder, label="toxic", attribute="toxicity")
    loaded = load_classifier(folder, device="cpu")
    limit = longest(loaded)
    ids = loaded.tokenizer(" ".join(tiny.SENTENCES * 3))["input_ids"]
    assert len(ids) > limit == (64 if family == "gpt2" else 48)
    long, cut = (Item("", loaded.tokenizer.decode(part)) for part in (ids, ids[:limit]))
    assert judged(scorer, [long, Item("", "fine")])[0] == pytest.approx(judged(scorer, [cut])[0], abs=1e-6)
    assert f"1 of 2 texts exceed the classifier's limit of {limit} tokens" in capsys.readouterr().err


@pytest.mark.parametrize("name", presets())
def test_a_preset_knows_how_its_classifier_is_read(make, name):
    preset = presets()[name]
    labels = {0: "other", 1: preset.label}
    folder = make(id2label=labels, label2id={label: index for index, label in labels.items()})
    logits = logits_of(folder, "A joy")
    expected = (logits.softmax(-1) if preset.activation == "softmax" else logits.sigmoid())[1].item()
    item = Item("A", " joy") if preset.attribute == "sentiment" else Item("A", "A joy")
    assert judged(classifier(folder, preset=name), [item])[0] == pytest.approx(expected, abs=1e-5)


def test_the_scores_are_kept_by_the_weights_they_are_of(make, tmp_path):
    store = ScoreStore(tmp_path / "scores.sqlite")
    for dropout in (0.1, 0.2):
        store.scores(classifier(make(hidden_dropout_prob=dropout), label="toxic", attribute="toxicity"), ITEMS[:3])
    assert [held.texts for held in store.holdings("classifier")] == [3, 3]


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ({}, {"label": "rude", "attribute": "toxicity"}, r"no label 'rude'.*set .label. to one of calm, Toxic, joking"),
        ({}, {"preset": "sst2-distilbert"}, r"no label 'POSITIVE'.*set .label. to one of calm, Toxic, joking"),
        ({}, {"attribute": "toxicity"}, r"no label ''.*set .label. to one of calm, Toxic, joking"),
        ({}, {"label": "toxic"}, "set `attribute` to what the score measures"),
        ({}, {"preset": "detoxify"}, r"there is no preset 'detoxify'.*there are unbiased-toxic-roberta"),
        (
            {},
            {"label": "toxic", "attribute": "toxicity", "activation": "relu"},
            "'relu' is unknown; choose softmax",
        ),
        (
            {"id2label": {0: "LABEL_0"}, "label2id": {"LABEL_0": 0}},
            {"label": "LABEL_0", "attribute": "toxicity"},
            r"has only one label \(LABEL_0\), so softmax gives no probability",
        ),
        (
            {"problem_type": "regression"},
            {"label": "toxic", "attribute": "toxicity"},
            r"is a regression model \(calm, Toxic, joking\).*none to use its output as the score",
        ),
    ],
)
def test_a_classifier_that_cannot_be_read_is_refused_with_what_was_found(make, config, options, message):
    with pytest.raises(LMSteerError, match=message):
        classifier(make(**config), **options)


def test_a_language_model_is_no_classifier(tmp_path):
    tiny.make_model("gpt2").save_pretrained(tmp_path / "origin")
    tiny.make_tokenizer().save_pretrained(tmp_path / "origin")
    obtain("folder", str(tmp_path / "origin"), tmp_path / "model")
    with pytest.raises(LMSteerError, match=r"has no weight score\.weight, which"):
        classifier(tmp_path / "model", label="LABEL_1", attribute="toxicity")


def test_nothing_to_judge_is_no_error(make):
    assert judged(classifier(make(), label="toxic", attribute="toxicity"), []) == []


def test_a_preset_is_pinned_and_another_model_is_not():
    block = {"preset": "roberta-toxicity", "source": "hub", "id": "", "revision": ""}
    assert len(Classifier(**block).origin()["revision"]) == 40
    assert Classifier(**{**block, "revision": "main"}).origin()["revision"] == "main"
    assert Classifier(**{**block, "id": "other/judge"}).origin()["revision"] == ""
    assert Classifier(**{**block, "source": "folder", "id": "here"}).origin()["revision"] == ""


@pytest.mark.parametrize("name", presets())
def test_a_preset_that_is_pinned_to_no_commit_asks_for_one(name):
    (*problem,) = Classifier(preset=name).mistakes()
    assert bool(problem) != bool(presets()[name].revision)
    assert all(f"'{name}' is not pinned to a commit: set one of {presets()[name].id}" in text for text in problem)
    assert not list(Classifier(preset=name, revision="0123abcd").mistakes())
    assert not list(Classifier(preset=name, source="folder", id="judge").mistakes())


@pytest.mark.parametrize("length", ["128", 0, -3])
def test_a_tokenizer_without_a_length_that_is_a_number_is_named(make, length):
    loaded = load_classifier(make(), device="cpu")
    loaded.tokenizer.model_max_length = length
    with pytest.raises(LMSteerError, match=r"is .*: expected a number"):
        longest(loaded)
