import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch

from lm_steer import LMSteerError, Steer
from lm_steer.core.attach import attach
from lm_steer.training.learn import LabelledTexts, Recipe, about, learn, save
from lm_steer.util.progress import Progress

GOOD = ["The movie was a joy to watch.", "A warm and funny story.", "The family will love the music.", "A joy!"]
BAD = ["The film is dull and slow.", "What a waste of time.", "The plot makes no sense.", "Far too long."]
TEXTS = LabelledTexts(GOOD + BAD, [1.0] * len(GOOD) + [-1.0] * len(BAD))
RECIPE = Recipe(("style", "corpus"), rank=4, steps=60, batch_size=3, epsilon=0.01, learning_rate=0.02)


class Killed(Exception):
    pass


@pytest.fixture(params=tiny.KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture(autouse=True)
def checkpoints_as_often_as_may_be(monkeypatch) -> None:
    monkeypatch.setattr("lm_steer.training.checkpoint.SECONDS_BETWEEN", 0.0)


def saved(folder: Path, loaded, recipe: Recipe, cache: Path) -> list[bytes]:
    """Train, save as the command line does, and return the bytes of every file."""
    steer, log = learn(loaded, TEXTS, TEXTS, recipe, cache)
    save(steer, about(loaded, recipe, TEXTS), log, folder)
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def killed_at(step: int, monkeypatch) -> None:
    """Make the training stop right after `step` steps, as far as the progress goes."""
    advance = Progress.advance

    def stop(self: Progress, count: int = 1, note: str = "") -> None:
        advance(self, count, note)
        if self.unit == "step" and self.done == step:
            raise Killed

    monkeypatch.setattr(Progress, "advance", stop)


@pytest.mark.parametrize("loss_on_padding", [False, True])
def test_the_loss_goes_down(loaded, tmp_path, kind, loss_on_padding):
    rate = {"multiply": 0.02, "add": 0.3, "offset": 0.3}[kind]
    epsilon = {"multiply": 0.01, "add": 0.1, "offset": 0.1}[kind]
    recipe = replace(
        RECIPE,
        kind=kind,
        batch_size=len(TEXTS),
        epsilon=epsilon,
        learning_rate=rate,
        loss_on_padding=loss_on_padding,
        regularization=1e-6,
    )
    _, log = learn(loaded, TEXTS, TEXTS, recipe, tmp_path)
    assert log[-1]["loss"] < log[1]["loss"] - 0.5
    assert log[-1]["dev_loss"] < log[0]["dev_loss"] - 0.1
    assert [row["step"] for row in log] == list(range(recipe.steps + 1))


def test_the_label_decides_which_texts_a_value_favours(loaded, tmp_path):
    steer, _ = learn(loaded, TEXTS, TEXTS, RECIPE, tmp_path)
    handle = attach(loaded.model, steer)

    def nll(text: str, value: float) -> float:
        ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
        with handle.at(style=value, corpus=1):
            return loaded.model(ids, labels=ids).loss.item()

    assert all(nll(text, 1) < nll(text, -1) for text in GOOD)
    assert all(nll(text, -1) < nll(text, 1) for text in BAD)


def test_the_logged_loss_is_that_of_the_steered_model(loaded, tmp_path, kind):
    """Step 0's dev loss against the model's own loss with the initial steer attached."""
    recipe = replace(RECIPE, kind=kind, steps=1, epsilon=0.2)
    _, log = learn(loaded, TEXTS, TEXTS, recipe, tmp_path)
    vocabulary, hidden = loaded.model.get_output_embeddings().weight.shape
    initial = Steer.initial(
        recipe.dimensions,
        vocabulary if kind == "offset" else hidden,
        rank=recipe.rank,
        kind=kind,
        epsilon=recipe.epsilon,
        generator=torch.Generator().manual_seed(recipe.seed),
    )
    handle = attach(loaded.model, initial)
    total = tokens = 0
    for text, label in zip(TEXTS.texts, TEXTS.labels, strict=True):
        ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
        with handle.at(style=label, corpus=1), torch.no_grad():
            total += loaded.model(ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    assert log[0]["dev_loss"] == pytest.approx(total / tokens, rel=1e-4)


def restated_first_losses(loaded, recipe: Recipe) -> tuple[float, float]:
    """The loss of the first batch with padding masked and with padding kept, by the model's own logits.

    The batch is all texts, so that their order, which the seed shuffles, does not matter. At step 0 a `multiply`
    steer of epsilon 0 is off: what is compared is which targets count.
    """
    tokenizer = loaded.tokenizer
    tokenizer.padding_side = "right"
    batch = tokenizer(list(TEXTS.texts), padding=True, return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    with torch.no_grad():
        logits = loaded.model(ids, attention_mask=mask).logits[:, :-1]
    nll = -logits.log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)
    kept = mask[:, 1:].bool()
    return nll[kept].mean().item(), nll.mean().item()


def test_padding_is_masked_or_kept_as_the_recipe_says(loaded, tmp_path):
    recipe = replace(RECIPE, epsilon=1e-12, steps=1, batch_size=len(TEXTS))
    masked, kept = restated_first_losses(loaded, recipe)
    assert abs(masked - kept) > 0.1
    for on_padding, expected in ((False, masked), (True, kept)):
        _, log = learn(loaded, TEXTS, TEXTS, replace(recipe, loss_on_padding=on_padding), tmp_path)
        assert log[1]["loss"] == pytest.approx(expected, rel=1e-4)


def test_padding_counts_as_tokens_only_where_it_is_kept(loaded, tmp_path):
    recipe = replace(RECIPE, steps=1, batch_size=len(TEXTS))
    lengths = [len(row) for row in loaded.tokenizer(list(TEXTS.texts))["input_ids"]]
    _, log = learn(loaded, TEXTS, TEXTS, recipe, tmp_path)
    assert log[1]["tokens"] == sum(lengths) - len(lengths)
    _, log = learn(loaded, TEXTS, TEXTS, replace(recipe, loss_on_padding=True), tmp_path)
    assert log[1]["tokens"] == len(lengths) * (max(lengths) - 1)


def test_regularization_pulls_the_weights_in(loaded, tmp_path):
    def norm(regularization: float) -> float:
        steer, _ = learn(loaded, TEXTS, TEXTS, replace(RECIPE, regularization=regularization), tmp_path)
        return sum(weight.square().sum().item() for weight in steer.weights.values())

    assert norm(10.0) < 0.5 * norm(0.0)


def test_first_adam_step_follows_the_regularized_gradient(loaded, tmp_path):
    """With λ so large that it rules the gradient, Adam's first step is the learning rate towards 0."""
    recipe = replace(RECIPE, steps=1, regularization=1e6)
    steer, _ = learn(loaded, TEXTS, TEXTS, recipe, tmp_path)
    start = Steer.initial(
        recipe.dimensions,
        steer.width,
        rank=4,
        epsilon=recipe.epsilon,
        generator=torch.Generator().manual_seed(0),
    )
    for name, weight in start.weights.items():
        moved = weight - recipe.learning_rate * weight.sign()
        torch.testing.assert_close(steer.weights[name], moved, atol=1e-4, rtol=1e-3)


def test_same_seed_same_bytes_another_seed_another_steer(loaded, tmp_path, kind):
    recipe = replace(RECIPE, kind=kind, steps=30)
    first = saved(tmp_path / "a", loaded, recipe, tmp_path / "cache a")
    assert saved(tmp_path / "b", loaded, recipe, tmp_path / "cache b") == first
    assert saved(tmp_path / "c", loaded, replace(recipe, seed=1), tmp_path / "cache a") != first


def test_a_finished_training_run_again_gives_the_same_bytes(loaded, tmp_path):
    first = saved(tmp_path / "a", loaded, RECIPE, tmp_path / "cache")
    assert saved(tmp_path / "a", loaded, RECIPE, tmp_path / "cache") == first


@pytest.mark.parametrize("step", [1, 24, 25, 26, 50, 59, 60])
def test_a_killed_training_ends_with_the_same_bytes(loaded, tmp_path, monkeypatch, step):
    expected = saved(tmp_path / "whole", loaded, RECIPE, tmp_path / "cache whole")
    with monkeypatch.context() as patch:
        killed_at(step, patch)
        with pytest.raises(Killed):
            saved(tmp_path / "killed", loaded, RECIPE, tmp_path / "cache")
    assert not (tmp_path / "killed").exists()
    assert saved(tmp_path / "killed", loaded, RECIPE, tmp_path / "cache") == expected


@pytest.mark.parametrize("held", [0, 3_000])
def test_how_many_states_are_held_does_not_show(loaded, tmp_path, monkeypatch, held):
    expected = saved(tmp_path / "whole", loaded, RECIPE, tmp_path / "cache whole")
    monkeypatch.setattr("lm_steer.model.hidden_cache.HELD_BYTES", held)
    monkeypatch.setattr("lm_steer.model.hidden_cache.MEMO_BYTES", held)
    assert saved(tmp_path / "in windows", loaded, RECIPE, tmp_path / "cache") == expected


@pytest.mark.parametrize("change", [{"kind": "add"}, {"kind": "offset"}, {"loss_on_padding": True}])
def test_other_recipes_survive_a_kill_as_well(loaded, tmp_path, monkeypatch, change):
    recipe = replace(RECIPE, steps=30, **change)
    expected = saved(tmp_path / "whole", loaded, recipe, tmp_path / "cache whole")
    with monkeypatch.context() as patch:
        killed_at(27, patch)
        with pytest.raises(Killed):
            learn(loaded, TEXTS, TEXTS, recipe, tmp_path / "cache")
    assert saved(tmp_path / "killed", loaded, recipe, tmp_path / "cache") == expected


def test_a_resumed_training_goes_on_from_its_checkpoint(loaded, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        killed_at(40, patch)
        with pytest.raises(Killed):
            learn(loaded, TEXTS, TEXTS, RECIPE, tmp_path)
    steps: list[int] = []
    advance = Progress.advance
    monkeypatch.setattr(Progress, "advance", lambda self, *rest: (advance(self, *rest), steps.append(self.done))[0])
    learn(loaded, TEXTS, TEXTS, RECIPE, tmp_path)
    assert steps == list(range(26, 61))


def test_checkpoints_are_some_time_apart(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr("lm_steer.training.checkpoint.SECONDS_BETWEEN", 1e9)
    with monkeypatch.context() as patch:
        killed_at(59, patch)
        with pytest.raises(Killed):
            learn(loaded, TEXTS, TEXTS, RECIPE, tmp_path)
    assert not (tmp_path / "checkpoints").exists()
    learn(loaded, TEXTS, TEXTS, RECIPE, tmp_path)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


def damage(content: bytes, how: str) -> bytes:
    if how == "empty":
        return b""
    if how == "cut":
        return content[: len(content) // 2]
    if how == "log":
        # The tensors are whole and the step is there, but the log cannot be read.
        return content.replace(b'\\"loss\\"', b'\\"loss  ', 1)
    if how == "number":
        # All reads well, but for one bit of a weight.
        return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]
    return b"\xff" * len(content)


@pytest.mark.parametrize("how", ["empty", "cut", "log", "number", "overwritten"])
def test_a_damaged_checkpoint_starts_the_training_afresh(loaded, tmp_path, monkeypatch, how):
    expected = saved(tmp_path / "whole", loaded, RECIPE, tmp_path / "cache whole")
    with monkeypatch.context() as patch:
        killed_at(30, patch)
        with pytest.raises(Killed):
            learn(loaded, TEXTS, TEXTS, RECIPE, tmp_path / "cache")
    (path,) = (tmp_path / "cache" / "checkpoints").iterdir()
    assert damage(path.read_bytes(), how) != path.read_bytes()
    path.write_bytes(damage(path.read_bytes(), how))
    assert saved(tmp_path / "again", loaded, RECIPE, tmp_path / "cache") == expected


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"learning_rate": 0.03}, {"rank": 5}, {"steps": 61}, {"regularization": 1e-3}]
)
def test_another_recipe_does_not_find_the_checkpoint(loaded, tmp_path, change):
    learn(loaded, TEXTS, TEXTS, RECIPE, tmp_path / "shared")
    recipe = replace(RECIPE, **change)
    expected = saved(tmp_path / "a", loaded, recipe, tmp_path / "own")
    assert saved(tmp_path / "b", loaded, recipe, tmp_path / "shared") == expected


HERE = Path(__file__).parent
SCRIPT = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
import torch
torch.set_num_threads(1)
from lm_steer.model.load import load_model
from lm_steer.util.progress import Progress
import test_learn
from lm_steer.training import checkpoint
root, model, step = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
advance = Progress.advance
def stop(self, *rest):
    advance(self, *rest)
    if self.unit == "step" and self.done == step:
        os.kill(os.getpid(), signal.SIGKILL)
Progress.advance = stop
checkpoint.SECONDS_BETWEEN = 0.0
test_learn.saved(root / "steer", load_model(model, device="cpu"), test_learn.RECIPE, root / "cache")
"""


def test_a_training_killed_by_the_system_ends_with_the_same_bytes(loaded, tmp_path):
    expected = saved(tmp_path / "whole", loaded, RECIPE, tmp_path / "cache whole")
    model = loaded.model.config._name_or_path
    environment = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}"}
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path), model, "33"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert saved(tmp_path / "steer", loaded, RECIPE, tmp_path / "cache") == expected


@pytest.mark.parametrize(
    "dimensions", [(), ("corpus",), ("style", "style"), ("style", "tone"), ("style", "tone", "corpus")]
)
def test_dimensions_that_cannot_be_trained_are_refused(loaded, tmp_path, dimensions):
    with pytest.raises(
        LMSteerError, match=r"different names, one for each label|expected one label per text .*, found 1"
    ):
        learn(loaded, TEXTS, TEXTS, replace(RECIPE, dimensions=dimensions), tmp_path)


def test_the_corpus_dimension_may_be_left_out(loaded, tmp_path):
    steer, _ = learn(loaded, TEXTS, TEXTS, replace(RECIPE, dimensions=("style",), steps=2), tmp_path)
    assert steer.dimensions == ("style",)


@pytest.mark.parametrize("texts", [LabelledTexts([], []), LabelledTexts([".", "a"], [1.0, -1.0])])
def test_texts_without_anything_to_predict_are_refused(loaded, tmp_path, texts):
    with pytest.raises(LMSteerError, match="at least two tokens"):
        learn(loaded, texts, TEXTS, RECIPE, tmp_path)


def test_a_diverged_training_ends_at_once_and_leaves_no_checkpoint(loaded, tmp_path):
    recipe = replace(RECIPE, learning_rate=1e30, steps=1000)
    with pytest.raises(LMSteerError, match=r"diverged: no finite loss at step [1-9]\d?: lower learning_rate"):
        learn(loaded, TEXTS, TEXTS, recipe, tmp_path)
    assert not list((tmp_path / "checkpoints").glob("*"))


@pytest.mark.parametrize("where", ["label", "weight"])
def test_a_training_that_starts_without_a_finite_loss_is_refused(loaded, tmp_path, where):
    if where == "weight":
        loaded.model.model.norm.weight.data[0] = torch.nan
    labels = [float("nan") if where == "label" else 1.0, *TEXTS.labels[1:]]
    with pytest.raises(LMSteerError):
        learn(loaded, replace(TEXTS, labels=labels), TEXTS, RECIPE, tmp_path)
    assert not list((tmp_path / "checkpoints").glob("*"))


def test_every_text_is_drawn_as_often_as_any_other(loaded, tmp_path):
    """Four shuffles of the eight texts in batches of four: the batches' tokens add up to four times all tokens."""
    recipe = replace(RECIPE, batch_size=4, steps=8)
    _, log = learn(loaded, TEXTS, TEXTS, recipe, tmp_path)
    tokens = sum(len(row) - 1 for row in loaded.tokenizer(list(TEXTS.texts))["input_ids"])
    assert sum(row.get("tokens", 0) for row in log) == 4 * tokens


def test_the_body_is_not_run_again_for_a_second_training(loaded, tmp_path):
    other = replace(RECIPE, rank=2)
    expected, _ = learn(loaded, TEXTS, TEXTS, other, tmp_path / "another cache")
    learn(loaded, TEXTS, TEXTS, RECIPE, tmp_path)
    with tiny.blinded(loaded.model):
        steer, _ = learn(loaded, TEXTS, TEXTS, other, tmp_path)
    assert all(torch.equal(steer.weights[name], weight) for name, weight in expected.weights.items())


def test_a_dev_loss_that_rises_is_remarked_and_patience_stops(loaded, tmp_path, capsys):
    """Dev texts with the opposite labels: what is learned of the training texts is wrong for them."""
    opposite = LabelledTexts(TEXTS.texts, [-label for label in TEXTS.labels])
    recipe = replace(RECIPE, steps=200, dimensions=("style",))
    steer, log = learn(loaded, TEXTS, opposite, recipe, tmp_path, patience=2)
    assert "the dev loss was lowest at step 0" in capsys.readouterr().err
    assert log[-1]["step"] == 50
    shorter, _ = learn(loaded, TEXTS, opposite, replace(recipe, steps=50), tmp_path)
    assert steer == shorter
    again, other = learn(loaded, TEXTS, opposite, recipe, tmp_path, patience=2)
    assert again == steer and other == log
    assert learn(loaded, TEXTS, TEXTS, recipe, tmp_path, patience=2)[1][-1]["step"] == 200
