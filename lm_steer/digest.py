"""Which code stands behind a command: a digest of its function in cli/ and of all modules that it imports.

    code_digest("train")          # sixteen hexadecimal digits; an edit to lm_steer/steer.py changes it

The workflow gives each rule the digest of its command, so that an edit to the package re-runs what it makes and no
more; checkpoints carry it, so that they never outlive the code that wrote them. Read as text: nothing is imported.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent


@cache
def code_digest(command: str) -> str:
    """Return the digest of one command of the command line, `lm-steer COMMAND`."""
    name = command.replace("-", "_")
    parts = (node for path in sorted(PACKAGE.glob("cli/*.py")) for node in _parsed(path).body)
    function = next(node for node in parts if isinstance(node, ast.FunctionDef) and node.name == name)
    digest = hashlib.sha256(ast.unparse(function).encode())
    for path in sorted(_reachable(function)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _reachable(tree: ast.AST) -> set[Path]:
    found: set[Path] = set()
    waiting = list(_imports(tree))
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_imports(_parsed(path)))
            found.update(_read_by(path))
    return found


def _read_by(path: Path) -> Iterator[Path]:
    """Yield the files beside a module that it reads: the page's templates, the published numbers."""
    if path == PACKAGE / "report/page.py":
        yield from (path.parent / "templates").iterdir()
    if path == PACKAGE / "report/figures.py":
        yield path.parent / "templates/page.css"
    if path == PACKAGE / "report/published.py":
        yield path.with_suffix(".csv")


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(tree: ast.AST) -> Iterator[Path]:
    """Yield the package's own modules that `tree` imports, at its top or inside a function."""
    for node in _running(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lm_steer":
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                path = PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py")
                if path.exists():
                    yield path


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk through all that runs: what is there for type checkers alone does not."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            waiting.extend(node.orelse)
            continue
        yield node
        waiting.extend(ast.iter_child_nodes(node))
