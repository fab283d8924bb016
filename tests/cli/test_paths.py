"""No command starts where it would write over an input, another output, or anything that is not its own."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import typer
from folders import make_folder, state

from lm_steer.cli import app, main
from lm_steer.model.obtain import obtain


@pytest.fixture
def run(tmp_path, monkeypatch) -> Callable[[str], str]:
    """Return a function that runs `lm-steer` in a folder with a person's files; it returns the error, if any."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    make_folder("docs", "notes.txt")
    make_folder("results", "study.json", "models/gpt2/config.json", "tables/a.csv", "scores/gpt2/a.parquet")
    make_folder("results", ".cache/scores.sqlite")
    make_folder(".", "g.jsonl", "p.jsonl", "a.csv", "model/config.json", "steer/steer.safetensors")
    make_folder("judge", "judge.json")
    make_folder(".", "spec.json", content='{"local": {"kind": "bag-of-words", "resource": "judge"}}')
    make_folder("data", "counts.json", "train.parquet")

    def command(words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["lm-steer", *(word.replace("~", " ") for word in words.split())])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code if isinstance(end.value.code, str) else ""

    return command


def _commands(command: object, name: str = "") -> dict[str, object]:
    inner = getattr(command, "commands", {})
    found = {} if inner else {name: command}
    for part in inner:
        found |= _commands(inner[part], f"{name} {part}".strip())
    return found


COMMANDS = _commands(typer.main.get_command(app))
# Each option that names an output, of each command.
WRITING = {
    (name, param.name): command
    for name, command in COMMANDS.items()
    for param in command.params
    if param.name in ("output", "spectrum", "readings", "pairs", "benchmarks", "job")
}


def test_every_command_that_writes_is_known():
    silent = {"bench", "push", "engines", "store import", "store list", "report compare", "demo"}
    assert {*COMMANDS} - {name for name, _ in WRITING} == silent


def _words(command: object, option: str, path: str) -> str:
    """A command line with `path` for an output, and something for all else that is required."""
    words = []
    for param in command.params:
        if param.name == option or param.required:
            value = path if param.name == option else f"new-{param.name}"
            value = "1" if param.name in ("shards", "budget_rank") else value
            words += [value] if param.param_type_name == "argument" else [param.opts[0], value]
    return " ".join(words)


@pytest.mark.parametrize(("name", "option"), WRITING)
def test_no_command_writes_to_what_is_not_its_own(run, name, option, tmp_path):
    before = state(tmp_path)
    for path in (".", "..", str(Path.cwd().parent), "docs", "docs/notes.txt/out", "/dev/null"):
        told = run(f"{name} {_words(WRITING[name, option], option, path)}")
        assert told.startswith("error: ") and "\n" not in told, (path, told)
        assert state(tmp_path) == before


@pytest.mark.parametrize(
    "words",
    [
        "score --kind profanity-check --file g.jsonl -o g.jsonl",
        "score --kind profanity-check --file p.jsonl --file g.jsonl -o ./docs/../g.jsonl",
        "score --kind profanity-check --file g.jsonl -o results/.cache/scores.sqlite",
        "score --kind causal-lm --resource model --file g.jsonl -o model/config.json",
        "external --path g.jsonl -o g.jsonl",
        "prompts --source file --path p.jsonl -o p.jsonl",
        "prompts --source openings --dataset a.csv -o a.csv",
        "data --source file --path data/train.parquet -o data",
        "model --source folder --id model -o model",
        "model --source folder --id results/models/gpt2 -o results/models",
        "export --steer steer --model model --at a=1 -o model",
        "export --steer steer --model model --at a=1 -o steer",
        "train --model model --texts a.csv -o model",
        "generate --model model --prompts p.jsonl -o p.jsonl",
        "generate --model model --prompts p.jsonl --steer steer --at a=1 -o steer/steer.safetensors",
        "gather results/a.jsonl results/a.jsonl --shards 2 --folder results",
        "gather a.jsonl --shards 2 --folder results",
        "table --study results/study.json --name a -o results/scores/gpt2/a.parquet",
        "report page -o results/study.json",
        "report page -o results/tables/a.csv",
        "report figures -o results",
        "analyse evidence --model model --steer steer --at a=1 --dimension a --text x --readings o.csv -o ./o.csv",
        "analyse directions --model model --steer steer --dimension a --spectrum g.jsonl -o g.jsonl",
        "agreement --file g.jsonl --study results/study.json --name a -o results/study.json",
        "store export --file g.jsonl -o g.jsonl",
        "import-original g.jsonl --dimensions a -o g.jsonl",
    ],
)
def test_no_input_and_no_other_output_is_written_over(run, words, tmp_path):
    before = state(tmp_path)
    told = run(words)
    assert told.startswith("error: ") and "\n" not in told
    assert state(tmp_path) == before


def test_what_is_asked_for_is_written_and_written_again(run, tmp_path):
    tiny.make_model("gpt2").save_pretrained("origin")
    tiny.make_tokenizer().save_pretrained("origin")
    Path("own.jsonl").write_text(json.dumps({"prompt": {"text": "the film"}}) + "\n")
    for _ in range(2):
        assert run("model --source folder --id origin -o local") == ""
        assert run("prompts --source file --path own.jsonl -o new/prompts.jsonl") == ""
        assert run("generate --model local --samples 2 --prompts new/prompts.jsonl -o out.jsonl --cache .") == ""
        assert run("report figures --results new -o drawn").startswith("error: new/study.json")
    assert sorted(path.name for path in Path("new").iterdir()) == ["prompts.jsonl"]


def test_to_list_scores_makes_nothing(run, tmp_path):
    before = state(tmp_path)
    for cache in ("nowhere", "."):
        assert run(f"store list --cache {cache}").startswith(f"error: --cache: {cache} has no scores")
    assert state(tmp_path) == before


def test_a_model_is_copied_into_a_new_folder_of_its_own(tmp_path):
    tiny.make_model("gpt2").save_pretrained(tmp_path / "origin" / "deep")
    tiny.make_tokenizer().save_pretrained(tmp_path / "origin" / "deep")
    for file in (tmp_path / "origin" / "deep").iterdir():
        (tmp_path / "origin" / file.name).write_bytes(file.read_bytes())
    obtain("folder", str(tmp_path / "origin"), tmp_path / "origin" / "deep" / "copy")
    assert not (tmp_path / "origin" / "deep" / "copy" / "deep" / "copy").exists()
