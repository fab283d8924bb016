"""The page in a real browser: what works there by hand, by keyboard and on paper, and that nothing leaves it."""

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from lm_steer.report.page import write_page

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (the extra `dev`)")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium browser on the PATH")
AXE = "axe-core@4.14.1"
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


@pytest.fixture
def page_file(make_results, study_of, tmp_path) -> Path:
    """The page of a study with a dial: mood at −5, 0 (the unsteered setting) and 5."""
    settings = study_of().model_dump(exclude_none=True)["settings"]
    sad = {**settings["glad-neutral"], "steer": {"mood": {"mood": 5}}}
    mild = {**settings["mild-rude"], "steer": {"detox": {"detox": 2, "corpus": 1}}}
    rows = {"mood 10": ["sad-neutral"], "mood 9": ["plain-neutral"]}
    rows |= {f"spare {number}": ["plain-neutral"] for number in range(4)}
    study = study_of(settings={"sad-neutral": sad, "mild-rude-2": mild}, tables={"mood": {"rows": rows}})
    write_page(study, make_results(study), tmp_path / "index.html")
    return tmp_path / "index.html"


@pytest.fixture
def page(browser, page_file) -> Iterator[Any]:
    """The opened page; at the end no message may have been printed and no request have left it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    messages: list[str] = []
    requests: list[str] = []
    opened.on("console", lambda message: messages.append(message.text))
    opened.on("pageerror", lambda error: messages.append(str(error)))
    opened.on("request", lambda request: requests.append(request.url))
    opened.goto(page_file.as_uri())
    yield opened
    context.close()
    assert not messages
    allowed = ("data:", "about:blank", page_file.parent.as_uri())
    assert [url for url in requests if not url.startswith(allowed)] == []


def rows(page, table: str) -> list[str]:
    headings = page.locator(f"#table-{table} table").first.locator("tbody tr:visible th")
    return [text.split("\n")[0].strip() for text in headings.all_inner_texts()]


def test_the_dial_turns_by_keyboard_and_shows_the_texts_of_its_value(page):
    dial = page.locator("#dial-tiny-mood-mood-neutral")
    assert dial.locator("output").inner_text() == "+5"
    assert dial.locator(".turn:visible").count() == 1
    dial.locator("input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    assert dial.locator("output").inner_text() == "0"
    page.keyboard.press("ArrowRight")
    assert dial.locator("input[type=range]").get_attribute("aria-valuetext") == "mood +5"
    unsteered, steered = dial.locator(".turn:visible dd:visible").all_inner_texts()
    assert "plain-neutral" in unsteered and "sad-neutral" in steered
    assert dial.locator("tr:visible th").all_inner_texts()[3:] == ["unsteered", "+5"]
    page.keyboard.press("Home")
    assert "glad-neutral" in dial.locator(".turn:visible dd:visible").nth(1).inner_text()
    before = dial.locator(".turn:visible .prompt").inner_text()
    dial.locator("select").select_option(index=1)
    assert dial.locator(".turn:visible .prompt").inner_text() != before


def test_a_turned_dial_has_an_address(page, page_file):
    page.locator("#dial-tiny-mood-mood-neutral input[type=range]").fill("1")
    address = page.url
    assert address.endswith("#dial-tiny-mood-mood-neutral:0:1")
    page.goto("about:blank")
    page.goto(address)
    assert page.locator("#dial-tiny-mood-mood-neutral output").inner_text() == "0"


@pytest.mark.parametrize("folder", ["a#b%20c", "100%", "a b?c"])
def test_any_folder_may_hold_the_page(page, page_file, tmp_path, folder):
    moved = tmp_path / folder / "index.html"
    moved.parent.mkdir()
    shutil.copy(page_file, moved)
    # As it should be written, and as people write it.
    for address in (moved.as_uri(), f"{page_file.as_uri()}#{folder}/index.html"):
        page.goto("about:blank")
        page.goto(address)
        assert page.locator("[data-dial] input[type=range]").count() and page.locator("button.sort").count()


def test_a_table_is_sorted_by_a_heading_and_says_so(page):
    assert rows(page, "mood")[:4] == ["Unsteered", "Glad", "mood 10", "mood 9"]
    heading = page.locator("#table-mood table").first.locator("th", has_text="Setting")
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert [rows(page, "mood")[place] for place in (0, 1, 2, -1)] == ["Glad", "mood 9", "mood 10", "Unsteered"]
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert rows(page, "mood")[0] == "Unsteered"
    value = page.locator("#table-manners table").first.locator("th", has_text="Avg. max. toxicity")
    value.locator("button").click()
    assert rows(page, "manners") == ["Mild weak labels", "Unsteered"]


def test_a_table_is_filtered(page):
    table = page.locator("#table-mood")
    table.get_by_label("Filter rows").first.fill("mood 1")
    assert rows(page, "mood") == ["mood 10"]
    assert table.locator("[role=status]").first.inner_text() == "1 of 8"


def test_a_cell_opens_its_record_and_gives_the_focus_back(page):
    link = page.locator("#table-manners td a").nth(3)
    link.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[open]")
    record = dialog.inner_text()
    assert "Mild" in record and "detox +5" in record and "mild-rude.jsonl" in record
    assert "version profanity-check 1" in record and "8 prompts, 24 texts" in record
    # Of the scorers of the setting the record tells that of the cell alone.
    assert "causal-lm" not in record and dialog.locator("code").count() == 2
    page.keyboard.press("Escape")
    assert dialog.count() == 0
    assert link.evaluate("link => link === document.activeElement")


def test_an_address_leads_to_a_cell(page):
    page.locator("#table-manners td a").first.click()
    page.get_by_text("Link to this cell").click()
    assert page.locator("td:target a").inner_text() == page.locator("#table-manners td a").first.inner_text()


def test_toxic_texts_stay_folded_until_they_are_asked_for(page):
    page.locator("#samples > summary").click()
    assert page.locator("#samples dd:visible").count() and not page.get_by_text("mild-rude 0").first.is_visible()


def test_chapters_are_printed_and_what_is_behind_a_warning_is_not(page):
    assert not page.locator("#training svg").first.is_visible()
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#training svg").first.is_visible() and page.locator("#samples > div").is_visible()
    assert not page.get_by_text("mild-rude 0").first.is_visible()
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert not page.locator("#training svg").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_a_phone_and_a_desk_in_light_and_dark(browser, page_file, scheme, width):
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # The first screen has what was found, and the dial with its text.
    for part in (".claims li >> nth=0", "[data-dial] input", ".turn:visible dd:visible >> nth=1"):
        box = page.locator(part).first.bounding_box()
        assert box["y"] + box["height"] <= 844
    if width == 1280:
        grids = page.locator(".table > .scroll")
        assert grids.evaluate_all("all => all.every((one) => one.scrollWidth <= one.clientWidth)")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(252, 252, 250)" if scheme == "light" else "rgb(21, 23, 26)")
    context.close()


def test_without_scripts_every_text_and_record_is_there(browser, page_file):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    dial = page.locator("#dial-tiny-mood-mood-neutral")
    dial.locator("summary").click()
    assert dial.locator("dd:visible").count() == 8 * (1 + 3)
    assert dial.locator("input").count() == 0 and page.locator(".filter").count() == 0
    page.locator("#table-manners td a").first.click()
    assert page.locator(".record:target").is_visible()
    context.close()


def test_on_paper_there_are_no_controls(page):
    page.emulate_media(media="print")
    for control in ("nav", ".controls", ".filter", ".downloads"):
        assert page.locator(control).count() and not page.locator(control).first.is_visible()
    assert page.locator("#table-mood table").first.is_visible()


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm, by which the checker is fetched")
def test_an_accessibility_checker_finds_nothing(browser, page_file, tmp_path):
    subprocess.run(["npm", "pack", AXE, "--silent"], cwd=tmp_path, check=True)
    with tarfile.open(next(tmp_path.glob("axe-core-*.tgz"))) as packed:
        checker = packed.extractfile("package/axe.min.js").read().decode()
    for width, scheme in product((1280, 390), ("light", "dark")):
        # The page itself lets no other script in.
        context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, bypass_csp=True)
        page = context.new_page()
        page.goto(page_file.as_uri())
        page.evaluate(checker)
        for _ in ("as it opens", "all open"):
            assert (
                page.evaluate("axe.run().then((found) => found.violations.map((one) => [one.id, one.nodes[0].html]))")
                == []
            )
            page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        context.close()
