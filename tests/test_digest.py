import ast
import shutil
from pathlib import Path

import pytest

from lm_steer import digest

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
    digest.code_digest.cache_clear()
    digest._parsed.cache_clear()


def changed_by(path: Path, *commands: str) -> set[str]:
    """Edit a file and return the commands whose digest changes."""
    before = {command: digest.code_digest(command) for command in commands}
    path.write_bytes(path.read_bytes() + b"\n# edited\n")
    clear()
    return {command for command in commands if digest.code_digest(command) != before[command]}


COMMANDS = ("data", "train", "generate", "score", "judge")


@pytest.mark.parametrize(
    "file, commands",
    [
        ("steer.py", {"train", "generate", "score"}),
        ("train.py", {"train"}),
        ("generate.py", {"generate"}),
        ("metrics.py", set()),
        ("files.py", set(COMMANDS)),
        # What a steer offers besides, and what is there for type checkers alone, changes no steer.
        ("analyse/evidence.py", set()),
        ("card.py", set()),
        ("data/sources.py", {"data"}),
        ("score/sentiment.py", {"score", "judge"}),
    ],
)
def test_an_edit_changes_the_digests_of_the_commands_that_use_it(package, file, commands):
    assert changed_by(package / file, *COMMANDS) == commands


def test_an_edit_to_a_command_changes_its_own_digest_alone(package):
    cli = package / "cli/steers.py"
    before = {command: digest.code_digest(command) for command in COMMANDS}
    lines = cli.read_text(encoding="utf-8").splitlines()
    train = next(node for node in ast.parse("\n".join(lines)).body if getattr(node, "name", "") == "train")
    lines.insert(train.end_lineno, "    return None")
    cli.write_text("\n".join(lines), encoding="utf-8")
    clear()
    assert {command for command in COMMANDS if digest.code_digest(command) != before[command]} == {"train"}


def test_modules_are_imported_in_the_one_form_that_the_digest_sees():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("lm_steer.") for alias in node.names), path
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
