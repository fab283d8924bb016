"""The command line as people and programs meet it: help, exit codes, errors, training on one's own texts."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import tiny
import typer

import lm_steer
from lm_steer import Steer
from lm_steer.cli import app, main
from lm_steer.data.labelled import hold_out
from lm_steer.model.load import RECORD

REVIEWS = [(sentence, 1 - 2 * (number % 2)) for number, sentence in enumerate(tiny.SENTENCES * 2)]
SHORT = ["--rank", "2", "--steps", "2", "--batch-size", "2"]


@pytest.fixture
def run(tmp_path, monkeypatch) -> Callable[..., tuple[int, str]]:
    """Return a function that runs `lm-steer` in a folder of its own: (exit code, the error for people)."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["lm-steer", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        told = end.value.code
        return (1, told) if isinstance(told, str) else (told or 0, "")

    return command


@pytest.fixture
def model(tmp_path) -> Path:
    """A user's own model, as transformers saves it."""
    tiny.make_model("llama-padded-vocabulary").save_pretrained(tmp_path / "model")
    tiny.make_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def reviews(tmp_path) -> Path:
    frame = pd.DataFrame({"review": [text for text, _ in REVIEWS], "stars": [label for _, label in REVIEWS]})
    frame.to_csv(tmp_path / "reviews.csv", index=False)
    return tmp_path / "reviews.csv"


def commands() -> dict[str, typer.core.TyperCommand]:
    found = {}
    waiting = [("lm-steer", typer.main.get_command(app))]
    while waiting:
        name, command = waiting.pop()
        inner = getattr(command, "commands", {})
        waiting += [(f"{name} {part}", inner[part]) for part in inner]
        if not inner:
            found[name] = command
    return found


@pytest.mark.parametrize("name", commands())
def test_every_command_says_what_it_does_and_shows_an_example(name):
    help_text = commands()[name].help or ""
    first, *rest = help_text.split("\n")
    assert 0 < len(first) <= 100 and first.endswith(".")
    assert any(line.strip().startswith(f"{name} ") for line in rest), f"no example in the help of `{name}`"


def test_completion_of_a_shell_is_there():
    code = "from lm_steer.cli import main; main()"
    variables = {"_LM_STEER_COMPLETE": "complete_bash", "COMP_WORDS": "lm-steer tra", "COMP_CWORD": "1"}
    script = f"import sys; sys.argv = ['lm-steer']; {code}"
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | variables, capture_output=True, text=True)
    assert done.stdout.split() == ["train"]


def test_its_version_is_told(run, capsys):
    assert run("--version") == (0, "")
    assert capsys.readouterr().out == f"lm-steer {lm_steer.__version__}\n"


def test_texts_are_continued_by_a_steer_of_the_hub(run, hub, model):
    steer = tiny.make_steer(tiny.make_model("llama-padded-vocabulary"))
    steer.save_pretrained(hub.folder / "someone/steer")
    Path("prompts.jsonl").write_text('{"prompt": {"text": "The movie"}}')
    steer = ("--steer", "someone/steer", "--at", "style=5")
    short = ("--samples", 2, "--new-tokens", 4)
    assert run("generate", "--model", model, "--prompts", "prompts.jsonl", *steer, *short, "-o", "out.jsonl") == (0, "")
    assert len(json.loads(Path("out.jsonl").read_text())["generations"]) == 2


def test_a_wrong_option_ends_with_2_and_a_wrong_file_with_1(run, tmp_path):
    assert run("train", "--no-such-option")[0] == 2
    code, error = run("prompts", "--source", "file", "--path", tmp_path / "none.jsonl", "-o", "out.jsonl")
    assert code == 1 and "none.jsonl: no such file" in error
    assert not (tmp_path / "out.jsonl").exists()


def start(*arguments: str, **options) -> subprocess.Popen:
    code = "from lm_steer.cli import main; main()"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_a_reader_that_has_seen_enough_is_no_error():
    running = start("engines")
    running.stdout.close()
    assert running.stderr.read() == ""
    running.wait()


def test_a_locale_without_letters_beyond_ascii_is_no_error():
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    running = start("engines", env=os.environ | locale)
    printed, told = running.communicate()
    assert running.returncode == 0 and printed and told == ""


@pytest.mark.parametrize("module", ["lm_steer.cli.app", "lm_steer.interop.engines"])
def test_an_interrupt_is_one_line_also_while_modules_are_imported(module):
    # The signal comes when the module is looked for: at the start, or inside a command.
    code = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(name, path, target=None):\n"
        f"        name == {module!r} and os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder)\n"
        "from lm_steer.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "engines"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_a_fault_of_our_own_is_one_line_and_a_traceback_where_it_is_asked_for(run, monkeypatch):
    monkeypatch.setattr("lm_steer.interop.engines.markdown", lambda: 1 / 0)
    code, error = run("engines")
    assert code == 1 and "a fault of lm-steer itself (ZeroDivisionError division by zero)" in error
    monkeypatch.setenv("LM_STEER_TRACEBACK", "1")
    monkeypatch.setattr(sys, "argv", ["lm-steer", "engines"])
    with pytest.raises(ZeroDivisionError):
        main()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_steer_is_trained_on_ones_own_texts(run, model, reviews, suffix):
    frame, texts = pd.read_csv(reviews), reviews.with_suffix(suffix)
    if suffix == ".jsonl":
        frame.to_json(texts, orient="records", lines=True)
    elif suffix == ".parquet":
        frame.to_parquet(texts)
    columns = ["--text-column", "review", "--label-column", "stars"]
    assert run("train", "--model", model, "--texts", texts, *columns, *SHORT, "-o", "steer") == (0, "")
    steer = Steer.from_pretrained("steer")
    assert steer.dimensions == ("style", "corpus")
    assert steer.about["data"] == texts.name and steer.about["model"] == "model"
    assert steer.about["model_type"] == "llama"
    # One of the six different texts is left for the dev loss, with its copy.
    assert steer.about["texts"] == 10
    log = [json.loads(line) for line in Path("steer/training.jsonl").read_text().splitlines()]
    assert "dev_loss" in log[0] and "dev_loss" in log[-1]


def test_a_training_ends_with_the_value_that_it_recommends(run, model, reviews, capsys):
    columns = ["--text-column", "review", "--label-column", "stars"]
    strong = ["--rank", 4, "--steps", 200, "--batch-size", 2, "--learning-rate", 0.1, "--patience", 1]
    assert run("train", "--model", model, "--texts", reviews, *columns, *strong, "-o", "steer") == (0, "")
    told = capsys.readouterr().err
    assert "the dev loss was lowest at step" in told
    assert told.rstrip().splitlines()[-1].startswith("recommended style=-")
    assert Steer.from_pretrained("steer").about["stopped_at"] < 200


def test_a_model_of_the_hub_is_fetched_once(run, hub, model, reviews):
    shutil.copytree(model, hub.folder / "owner/tiny")
    columns = ["--text-column", "review", "--label-column", "stars"]
    for output in ("one", "two"):
        assert run("train", "--model", "owner/tiny", "--texts", reviews, *columns, *SHORT, "-o", output) == (0, "")
    assert Path("one/steer.safetensors").read_bytes() == Path("two/steer.safetensors").read_bytes()
    assert hub.transfers == len(list((hub.folder / "owner/tiny").iterdir()))
    assert Steer.from_pretrained("one").about["model"] == "owner/tiny"
    assert Path("results/.cache/models/owner--tiny", RECORD).exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "reviews.csv has no column 'text': it has review, stars"),
        (["--text-column", "review", "--label-column", "mood"], "no column 'mood': it has review, stars"),
        (["--text-column", "review", "--label-column", "review"], "as review, found 'The movie was a joy"),
        (
            ["--text-column", "review", "--label-column", "stars", "--dimensions", "a,b"],
            "expected one column of labels for each of the dimensions",
        ),
    ],
)
def test_a_training_that_cannot_be_leaves_nothing(run, model, reviews, options, message):
    code, error = run("train", "--model", model, "--texts", reviews, "-o", "steer", *SHORT, *options)
    assert code == 1 and message in error
    assert not Path("steer").exists()


def test_a_steer_is_pushed_from_the_command_line(run, hub, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_someone")
    tiny.make_steer(tiny.make_model("llama")).save_pretrained(tmp_path / "steer")
    assert run("push", "steer", "someone/steer", "--intended-use", "To test with.") == (0, "")
    assert capsys.readouterr().out.strip().startswith(f"{hub.address}/someone/steer/commit/")
    assert "To test with." in (hub.folder / "someone/steer/README.md").read_text()


def test_kept_scores_are_listed_for_programs(run, capsys):
    score = {"scorer": "s", "version": "1", "text": "a", "attribute": "toxicity", "value": 0.5}
    Path("scores.jsonl").write_text(json.dumps({**score, "scored_at": "2026-01-01 00:00:00"}))
    assert run("store", "import", "scores.jsonl") == (0, "")
    capsys.readouterr()
    assert run("store", "list", "--json") == (0, "")
    (line,) = capsys.readouterr().out.splitlines()
    held = json.loads(line)
    assert (held["scorer"], held["version"], held["texts"]) == ("s", "1", 1)


def test_a_tenth_is_held_out_with_its_copies():
    frame = pd.DataFrame({"text": [f"text number {i % 50}" for i in range(100)], "label": 0.0})
    rest, held = hold_out(frame)
    assert len(held) == 10 and held["text"].nunique() == 5
    assert not set(held["text"]) & set(rest["text"])
    again = hold_out(frame.sample(frac=1, random_state=0))[1]
    assert set(again["text"]) == set(held["text"])


def test_a_steer_is_calibrated_on_texts_and_on_continuations(run, model, reviews, tmp_path, capsys):
    steer = tiny.make_steer(tiny.make_model("llama-padded-vocabulary"))
    steer.save_pretrained(tmp_path / "steer")
    line = {"prompt": {"text": "The film"}, "generations": [{"text": " is dull and slow."}, {"text": " is warm."}]}
    (tmp_path / "plain.jsonl").write_text(json.dumps(line) + "\n")
    common = ["calibrate", "--model", model, "--steer", "steer", "--dimension", "style", "--held", "corpus=0.1"]
    assert run(*common, "--texts", reviews, "--text-column", "review", "-o", "curve.csv") == (0, "")
    assert "recommended style=" in capsys.readouterr().out
    assert list(pd.read_csv("curve.csv")) == ["value", "kl", "perplexity"]
    assert run(*common, "--generations", "plain.jsonl", "--value", 1, "--at-kl", 0.1, "-o", "curve.json") == (0, "")
    assert [point["value"] for point in json.loads(Path("curve.json").read_text())["points"]] == [0, 1]
    for options, message in [
        ([], "by either --texts or --generations"),
        (["--texts", reviews], "has no column 'text'"),
        (["--texts", reviews, "-o", "curve.txt"], "expected a .csv or .json file"),
    ]:
        code, told = run(*common, *options)
        assert code == 1 and message in told
