"""A mkdocs hook that adds to workflow/docs: pages from elsewhere in the repository, references written from code.

mkdocs build --strict          # `make docs`
"""

import posixpath
import re
import tomllib
from pathlib import Path

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click

import lm_steer
from lm_steer.cli import app

ROOT = Path(__file__).parents[2]
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
DOCS = "workflow/docs"
# Pages of the site that are files elsewhere in the repository.
ELSEWHERE = {
    "index.md": "README.md",
    "config.md": "config/README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
}
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")
# A page of the site, as a notebook links to it.
SITE = re.compile(rf"(?<=href=\"){re.escape(URLS['Documentation'])}/([\w/-]+/)")
# Aligned lines of a docstring: an argument and its description.
ALIGNED = re.compile(r"<p>(\w+(?:, \w+)* {2,}\S(?:(?!</p>)[\s\S])*)</p>")
# A code block with a file name, as in tests/test_docs.py.
FILE = re.compile(r"^```(\w+) (\S+)$", re.MULTILINE)
# The example at the end of a command's help.
EXAMPLE = re.compile(r"^lm-steer .*(?:\n(?!$).*)*", re.MULTILINE)


def on_config(config: MkDocsConfig) -> None:
    """Set the site's addresses."""
    config.repo_url, config.repo_name, config.site_url = URLS["Repository"], "lm-steer", URLS["Documentation"]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages that are not in the docs folder."""
    pages = {name: (ROOT / place).read_text(encoding="utf-8") for name, place in ELSEWHERE.items()}
    for name, content in (pages | {"api.md": api(), "cli.md": command_line()}).items():
        files.append(File.generated(config, name, content=content))


def on_page_markdown(markdown: str, page: Page, files: Files, **_: object) -> str:
    """Turn links between files of the repository into links between pages, or to the repository."""
    source = page.file.src_uri
    folder = posixpath.dirname(ELSEWHERE.get(source, f"{DOCS}/{source}"))
    pages = {place: name for name, place in ELSEWHERE.items()} | {
        f"{DOCS}/{file.src_uri}": file.src_uri for file in files if file.src_uri not in ELSEWHERE
    }

    def target(link: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join(folder, link[1]))
        if place not in pages and not (ROOT / place).exists():
            return link[1]  # mkdocs reports the broken link
        return pages.get(place) or f"{URLS['Repository']}/blob/main/{place}"

    return FILE.sub(r'```\1 title="\2"', LINK.sub(target, markdown))


def on_page_content(html: str, page: Page, files: Files, **_: object) -> str:
    """Turn a notebook's absolute links to the site into relative ones, and aligned docstring lines into tables."""
    pages = {file.url for file in files.documentation_pages()}

    def target(link: re.Match[str]) -> str:
        if link[1] not in pages:
            get_plugin_logger("docs_site").warning(f"{page.file.src_uri} links to {link[0]}, which is not a page")
        return posixpath.relpath(link[1], page.url) + "/"

    if page.file.src_uri.endswith(".ipynb"):
        return SITE.sub(target, html)
    return ALIGNED.sub(_table, html) if page.file.src_uri == "api.md" else html


def _table(lines: re.Match[str]) -> str:
    rows = [re.split(" {2,}", line) for line in re.sub(r"\n\s+", " ", lines[1]).splitlines()]
    cells = ["".join(f"<td>{cell}</td>" for cell in (f"<code>{name}</code>", *rest)) for name, *rest in rows]
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def api() -> str:
    """Return the page of all public names with their docstrings."""
    places = lm_steer._PLACES
    parts = [f"::: lm_steer.{places[name]}.{name}\n" for name in lm_steer.__all__]
    return "# Python reference\n\nEverything here is imported from `lm_steer` itself.\n\n" + "\n".join(parts)


def command_line() -> str:
    """Return the page of all commands, written from their help."""
    command = typer.main.get_command(app)
    for each in (
        each for group in (command, *command.commands.values()) for each in getattr(group, "commands", {}).values()
    ):
        each.short_help = (each.help or "").partition("\n")[0]  # typer would truncate it
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="lm-steer", title="Command line reference")
    return EXAMPLE.sub(lambda example: f"```sh\n{example[0]}\n```", text)
