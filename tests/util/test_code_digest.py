import ast
import shutil
from pathlib import Path

import pytest

from lm_steer.util import code_digest as digest

PACKAGE = digest.PACKAGE


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A copy of the package that may be edited; nothing is remembered of the real one."""
    copy = tmp_path / "lm_steer"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(digest, "PACKAGE", copy)
    clear()
    yield copy
    clear()


def clear() -> None:
    for function in (digest.code_digest, digest.module_digest, digest._parsed, digest._module):
        function.cache_clear()


COMMANDS = ("data", "train", "generate", "score", "judge", "page", "table")


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    """The digests of the package itself, which are those of any copy."""
    return digests()


def digests() -> dict[str, str]:
    clear()
    return {command: digest.code_digest(command) for command in COMMANDS}


def changed(before: dict[str, str]) -> set[str]:
    return {command for command, value in digests().items() if value != before[command]}


@pytest.mark.parametrize(
    "file, commands",
    [
        ("core/steer.py", {"train", "generate"}),
        ("training/learn.py", {"train"}),
        ("generation/continuations.py", {"generate"}),
        ("tables/metrics.py", {"page", "table"}),
        ("util/files.py", set(COMMANDS)),
        # What a steer offers besides, and what is there for type checkers alone, changes no steer.
        ("analyse/evidence.py", set()),
        ("report/card.py", set()),
        ("data/datasets/jigsaw.py", {"data", "page"}),
        # The page tells what a kind of scorer says of itself.
        ("score/kinds/bag_of_words.py", {"score", "judge", "page"}),
    ],
)
def test_an_edit_changes_the_digests_of_the_commands_that_use_it(before, package, file, commands):
    path = package / file
    path.write_text(path.read_text(encoding="utf-8") + "\nEDITED = True\n", encoding="utf-8")
    assert changed(before) == commands


@pytest.mark.parametrize("file", ["report/templates/page.js", "tables/published.csv"])
def test_an_edit_to_a_file_that_a_module_reads_changes_what_reads_it(before, package, file):
    (package / file).write_bytes((package / file).read_bytes() + b"\n")
    assert "page" in changed(before) and "train" not in changed(before)


def test_comments_docstrings_layout_and_imports_do_not_count(before, package):
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
                node.body[0].value.value += " More words."
        path.write_text(f"# A comment.\nimport os\n\n\n{ast.unparse(tree)}\n", encoding="utf-8")
    assert changed(before) == set()


def test_a_module_may_move(before, package):
    (package / "elsewhere").mkdir()
    (package / "core/steer.py").rename(package / "elsewhere/steer.py")
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(
            text.replace("from lm_steer.core.steer import", "from lm_steer.elsewhere.steer import"), encoding="utf-8"
        )
    assert changed(before) == set()


def test_an_edit_to_a_command_changes_its_own_digest_alone(before, package):
    cli = package / "cli/steers.py"
    lines = cli.read_text(encoding="utf-8").splitlines()
    train = next(node for node in ast.parse("\n".join(lines)).body if getattr(node, "name", "") == "train")
    lines.insert(train.end_lineno, "    return None")
    cli.write_text("\n".join(lines), encoding="utf-8")
    assert changed(before) == {"train"}


def test_a_module_has_a_digest_of_its_own(package):
    before = digest.module_digest("lm_steer.model.hidden_cache")
    (package / "model/hidden_cache.py").write_text(
        (package / "model/hidden_cache.py").read_text(encoding="utf-8") + "\nEDITED = True\n"
    )
    clear()
    assert digest.module_digest("lm_steer.model.hidden_cache") != before


def test_modules_are_imported_in_the_one_form_that_the_digest_sees():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("lm_steer.") for alias in node.names), path
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
