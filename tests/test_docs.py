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
from services.forked import forked_commands
from services.hub import Hub
from transformers import PreTrainedTokenizerBase

from lm_steer.interop.engines import markdown

DOCS = Path(__file__).parents[1] / "workflow/docs"
PAGES = ("own-data", "own-model", "library", "leaving-home", "serve", "coming-from", "evaluate", "chat", "faq")
BLOCK = re.compile(r"(?:<!-- (?P<note>[^>]*) -->\n)?```(?P<language>\w+)(?: (?P<file>\S+))?\n(?P<code>.*?)```", re.S)
# A user has both before the page begins.
NEEDED = "lm-steer train --model openai-community/gpt2 --texts reviews.csv --text-column review --label-column stars"


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def blocks(name: str) -> Iterator[re.Match[str]]:
    return BLOCK.finditer(page(name))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory) -> Iterator[Hub]:
    """A hub that has a gpt2 and a chat model."""
    folder = tmp_path_factory.mktemp("hub")
    save("gpt2", folder / "openai-community/gpt2")
    save("llama", folder / "HuggingFaceTB/SmolLM2-135M-Instruct", tiny.make_chat_tokenizer())
    with Hub(folder) as server:
        yield server


@pytest.fixture(scope="module")
def commands(tmp_path_factory, gpt2) -> Iterator[Path]:
    """`lm-steer`, which starts at once, and what the client of the hub reads when it is imported."""
    variables = {
        "HF_ENDPOINT": gpt2.address,
        "HF_HOME": str(tmp_path_factory.mktemp("hf")),
        "HF_TOKEN": "hf_someone",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        with forked_commands(tmp_path_factory.mktemp("commands")) as folder:
            yield folder


def save(architecture: str, folder: Path, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
    tiny.make_model(architecture).save_pretrained(folder)
    (tokenizer or tiny.make_tokenizer()).save_pretrained(folder)


@pytest.fixture
def work(tmp_path) -> Path:
    """A folder with one's own model and texts."""
    save("llama-padded-vocabulary", tmp_path / "work/my-model")
    csv = next(block for block in blocks("own-data") if block["file"] == "reviews.csv")
    (tmp_path / "work/reviews.csv").write_text(csv["code"])
    return tmp_path / "work"


@pytest.fixture
def run(work, commands):
    """Return a function that runs a command in that folder, as a user would in a shell."""
    variables = {
        "PATH": os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(DOCS.parents[1]), os.environ.get("PYTHONPATH", "")]),
    }

    def command(*words: str) -> None:
        done = subprocess.run(words, cwd=work, env=os.environ | variables, capture_output=True, text=True)
        assert done.returncode == 0, f"{words[-1]}\n{done.stdout[-1000:]}{done.stderr[-3000:]}"

    return command


@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_what_it_says(run, work, name):
    if name in ("library", "serve", "coming-from", "faq"):
        run("bash", "-ec", f"{NEEDED} --rank 16 --steps 40 --batch-size 4 -o my-steer")
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
