"""The playground: what it does, and the page itself in a real browser."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
import tiny

from lm_steer import LMSteerError, cli
from lm_steer.demo.page import _check_address, _names, highlighted
from lm_steer.demo.playground import Playground, joined, last_run
from lm_steer.model.chat import chat_prompt
from lm_steer.model.load import load_model
from lm_steer.model.obtain import obtain

CHROMIUM = Path("/usr/bin/chromium")
PROMPT = "The movie was"
PLAIN, STEERED = (f"document.querySelector('#{side} textarea').value" for side in ("plain", "steered"))


@pytest.fixture
def results(tmp_path) -> Path:
    """The results of a run: a model and two steers."""
    model = tiny.make_model("llama-padded-vocabulary")
    model.save_pretrained(tmp_path / "origin")
    tiny.make_tokenizer().save_pretrained(tmp_path / "origin")
    obtain("folder", str(tmp_path / "origin"), tmp_path / "results/models/tiny")
    for number, name in enumerate(("detox", "mood")):
        steer = tiny.make_steer(model, dimensions=(name, "corpus"), epsilon=0.1, seed=number)
        for seed in (0, 1):
            steer.save_pretrained(tmp_path / f"results/steers/tiny/{name}/seed{seed}")
    return tmp_path / "results"


@pytest.fixture
def playground(loaded) -> Iterator[Playground]:
    with tiny.make_steer(loaded.model, epsilon=0.1).attach(loaded.model) as handle:
        yield Playground(loaded, handle)


def test_the_last_run_is_found_with_all_its_steers(results):
    model, folders = last_run(results)
    assert model == str(results / "models/tiny")
    assert joined(folders).dimensions == ("detox.detox", "detox.corpus", "mood.mood", "mood.corpus")


def test_one_steer_keeps_its_names(results):
    model, folders = last_run(results, "owner/tiny", [results / "steers/tiny/mood/seed1"])
    assert model == "owner/tiny" and joined(folders).dimensions == ("mood", "corpus")


@pytest.mark.parametrize(
    ("model", "folders", "message"),
    [("other", [], "steers/other holds no steers: run a study first"), ("", ["steers/tiny/mood/seed0"], "--model")],
)
def test_what_is_missing_is_told(results, model, folders, message):
    with pytest.raises(LMSteerError, match=message):
        last_run(results, model, [results / folder for folder in folders])


def test_nothing_run_yet_is_told(tmp_path):
    with pytest.raises(LMSteerError, match="holds no steers: run a study first"):
        last_run(tmp_path)


def test_both_sides_are_alike_at_zero_and_differ_at_a_value(playground):
    *_, (plain, same) = playground.stream(PROMPT, {"style": 0.0, "corpus": 0.0}, 12)
    assert plain == same and plain
    steps = list(playground.stream(PROMPT, {"style": 8.0, "corpus": 0.0}, 12))
    assert steps[-1][0] == plain and steps[-1][1] != plain
    assert all(later[0].startswith(earlier[0]) for earlier, later in pairwise(steps))
    assert list(playground.stream(PROMPT, {"style": 0.0}, 12, seed=1))[-1][0] != plain


def test_a_message_is_answered_by_the_chat_template(playground):
    playground.loaded.tokenizer.chat_template = tiny.CHAT_TEMPLATE
    asked = chat_prompt(playground.loaded.tokenizer, PROMPT)
    answers = list(playground.stream(PROMPT, {"style": 8.0}, 6, chat=True))
    assert answers == list(playground.stream(asked, {"style": 8.0}, 6)) != list(playground.stream(PROMPT, {}, 6))


def test_a_text_is_marked_whole_and_escaped(playground):
    text = "The <b>movie</b> & the film"
    marked = highlighted(playground.evidence(text, {"style": 5.0}))
    plain = re.sub(r"<[^>]*>", "", marked.split("</p>")[0])
    assert plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text
    assert "<b>" not in marked


def test_evidence_needs_a_value(playground):
    with pytest.raises(LMSteerError, match="every slider is at 0"):
        playground.evidence("The film", {"style": 0.0})


def test_a_slider_ends_where_quality_breaks(playground):
    low, high, recommended = playground.reach("style")
    assert low < 0 < recommended <= high


def test_the_python_of_a_page_runs_and_leaves_out_what_is_at_0(results):
    place, folders = last_run(results)
    loaded = load_model(place)
    with joined(folders).attach(loaded.model) as handle:
        code = Playground(loaded, handle, place, folders).python(PROMPT, {"mood.mood": 2.0, "detox.detox": 0.0}, 3)
    assert "mood.mood" in code and "detox.detox" not in code
    printed = StringIO()
    with redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue().strip()


def test_words_of_a_dimension_are_listed(playground):
    rows = playground.words("style")
    assert len(rows) == 3 and all(len(row) == 3 and row[1] and row[2] for row in rows)


@pytest.fixture
def address(results) -> Iterator[str]:
    """The address of `lm-steer demo`, running on the results."""
    command = [sys.executable, "-u", "-c", "from lm_steer.cli import main; main()", "demo", "--results", str(results)]
    variables = {"NO_PROXY": "127.0.0.1,localhost", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | variables
    ) as running:
        printed = ""
        for line in running.stdout:
            printed += line
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        else:
            raise AssertionError(printed)
        yield found[0]
        running.terminate()


@pytest.mark.skipif(not find_spec("gradio"), reason="gradio is not installed: pip install 'lm-steer[demo]'")
@pytest.mark.skipif(not (CHROMIUM.exists() and find_spec("playwright")), reason=f"no {CHROMIUM} or no playwright")
def test_the_page_in_a_browser(address, tmp_path):
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=30_000)
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        left, errors = [], []
        page.on("request", lambda request: left.append(request.url) if address not in request.url else None)
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        # Of four dimensions two are styles; the others, and the number of tokens, come with a click.
        expect(page.locator("input[type=range]")).to_have_count(2)
        page.get_by_role("button", name="Advanced").click()
        expect(page.locator("input[type=range]")).to_have_count(4 + 1)

        # It opens with a prompt that is continued already.
        page.wait_for_function(f"() => {PLAIN} && {STEERED}")
        page.screenshot(path=tmp_path / "opened.png", full_page=True)
        page.get_by_role("button", name="less toxic").click()
        expect(page.locator("#python")).to_contain_text("'detox.detox'")

        page.locator("#prompt textarea").fill(PROMPT)
        page.locator("#start").click()
        page.wait_for_function(f"() => {PLAIN} && {STEERED} && {PLAIN} !== {STEERED}")
        page.screenshot(path=tmp_path / "continue.png")

        page.locator("#at-0 input[type=number]").fill("0")
        page.locator("#at-0 input[type=number]").press("Tab")
        page.locator("#start").click()
        page.wait_for_function(f"() => {PLAIN} && {PLAIN} === {STEERED}")

        page.get_by_role("tab", name="Evidence").click()
        page.locator("#show").click()
        expect(page.get_by_text("every slider is at 0")).to_be_visible()
        page.locator("#at-2 input[type=number]").fill("5")
        page.locator("#at-2 input[type=number]").press("Tab")
        page.locator("#show").click()
        expect(page.locator("#marked span").first).to_be_visible()
        page.screenshot(path=tmp_path / "evidence.png")

        page.get_by_role("tab", name="Words").click()
        page.locator("#look").click()
        expect(page.get_by_role("gridcell").first).to_be_visible()
        page.screenshot(path=tmp_path / "words.png")
        browser.close()
    assert left == []
    assert errors == []


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("no host", None), ("192.0.2.1", 7860), ("", -1)])
def test_an_address_that_cannot_be_is_told(host, port):
    with pytest.raises(LMSteerError, match=f"a page cannot be served on {host}:"):
        _check_address(host, port)


@pytest.mark.skipif(not find_spec("starlette"), reason="starlette comes with gradio: pip install 'lm-steer[demo]'")
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_only_names_of_this_machine_are_answered(host):
    from starlette.applications import Starlette
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    page = Starlette(routes=[Route("/", lambda request: PlainTextResponse("here"))])
    page.add_middleware(TrustedHostMiddleware, allowed_hosts=_names(host))
    client = TestClient(page)
    names = ["localhost:7860", "127.0.0.1", "[::1]:7860"] + [socket.gethostname()] * (host == "0.0.0.0")
    assert {client.get("/", headers={"host": name}).status_code for name in names} == {200}
    assert client.get("/", headers={"host": "rebound.example:7860"}).status_code == 400


def test_a_port_that_is_taken_is_told(results, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(sys, "argv", ["lm-steer", "demo", "--results", str(results), "--port", str(port)])
        with pytest.raises(SystemExit, match=f"error: a page cannot be served on 127.0.0.1:{port}"):
            cli.main()
