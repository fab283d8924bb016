"""The pages of workflow/docs do what they say: their commands and lines of Python are run, with a tiny model.

A block that is not run says why, in a comment before it.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny

from lm_steer.interop.engines import markdown

DOCS = Path(__file__).parents[1] / "workflow/docs"
PAGES = ("own-data", "own-model", "library", "leaving-home", "serve", "evaluate")
BLOCK = re.compile(r"(?:<!-- (?P<note>[^>]*) -->\n)?```(?P<language>\w+)(?: (?P<file>\S+))?\n(?P<code>.*?)```", re.S)
# A user has both before the page begins.
NEEDED = "lm-steer train --model openai-community/gpt2 --texts reviews.csv --text-column review --label-column stars"


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def blocks(name: str) -> Iterator[re.Match[str]]:
    return BLOCK.finditer(page(name))


@pytest.fixture
def work(tmp_path, hub) -> Path:
    """A folder with one's own model and texts; the hub has a gpt2."""
    places = [("gpt2", hub.folder / "openai-community/gpt2"), ("llama-padded-vocabulary", tmp_path / "work/my-model")]
    for architecture, folder in places:
        tiny.make_model(architecture).save_pretrained(folder)
        tiny.make_tokenizer().save_pretrained(folder)
    csv = next(block for block in blocks("own-data") if block["file"] == "reviews.csv")
    (tmp_path / "work/reviews.csv").write_text(csv["code"])
    return tmp_path / "work"


@pytest.fixture
def run(work, hub):
    """Return a function that runs a command in that folder, as a user would in a shell."""
    commands = work.parent / "bin"
    commands.mkdir()
    lm_steer = commands / "lm-steer"
    lm_steer.write_text(f"#!{sys.executable}\nfrom lm_steer.cli import main\nmain()\n")
    lm_steer.chmod(0o755)
    variables = {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(work.parent / "hf"),
        "HF_TOKEN": "hf_someone",
        "HF_HUB_DISABLE_XET": "1",
        "PATH": os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(DOCS.parents[1]), os.environ.get("PYTHONPATH", "")]),
    }

    def command(*words: str) -> None:
        done = subprocess.run(words, cwd=work, env=os.environ | variables, capture_output=True, text=True)
        assert done.returncode == 0, f"{words[-1]}\n{done.stdout[-1000:]}{done.stderr[-3000:]}"

    return command


@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_what_it_says(run, work, name):
    if name in ("library", "serve"):
        run("bash", "-ec", f"{NEEDED} --rank 4 --steps 2 --batch-size 4 -o my-steer")
    script = ""
    for block in blocks(name):
        left_out = (block["note"] or "").startswith("not run") or "pip install" in block["code"]
        if left_out:
            continue
        if block["language"] == "sh":
            run("bash", "-ec", block["code"])
        elif block["language"] == "python":
            script += block["code"]
    if script:
        run(sys.executable, "-c", script)


def test_the_table_of_engines_is_that_of_the_command():
    assert f"<!-- engines -->\n{markdown()}\n" in page("leaving-home"), "paste the output of `lm-steer engines`"
