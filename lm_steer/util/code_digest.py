"""A digest of the code behind a command: its function in cli/ and everything it imports from the package.

    code_digest("train")          # sixteen hexadecimal digits; an edit to a line of lm_steer/core/steer.py changes it

The workflow gives each rule the digest of its command, so that an edit to the package re-runs only the rules it
affects; checkpoints carry it, so that they never outlive the code that wrote them. The digest is taken from syntax
trees, statement by statement: comments, docstrings, layout, and the file of a statement do not count. Nothing is
imported.
"""

import ast
import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# The relative path of a file or folder, `templates/page.css`.
NAME = re.compile(r"\w[\w.-]{,80}(/\w[\w.-]{,80})*")
IMPORT = re.compile(r"\s*(from \S+ )?import ")


@cache
def code_digest(command: str) -> str:
    """Return the digest of one command of the command line, `lm-steer COMMAND`."""
    name = command.replace("-", "_")
    parts = (node for path in sorted(PACKAGE.glob("cli/*.py")) for node in _parsed(path).body)
    function = next(node for node in parts if isinstance(node, ast.FunctionDef) and node.name == name)
    return _digest(function)


@cache
def module_digest(module: str) -> str:
    """Return the digest of one module of the package, by its `__name__`, and of all that it imports."""
    return _digest(_parsed(PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")))


def _digest(root: ast.AST) -> str:
    pieces = _statements([root]).union(*(_module(path)[1] for path in _reachable(root)))
    # Sorted, so that the order of statements and their files do not count.
    digests = sorted(hashlib.sha256(piece).digest() for piece in pieces)
    return hashlib.sha256(b"".join(digests)).hexdigest()[:16]


def _reachable(root: ast.AST) -> set[Path]:
    """Return the package's modules that `root` imports, directly or through others."""
    reached: set[Path] = set()
    waiting = _imports(root)
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting |= _module(path)[0]
    return reached


@cache
def _module(path: Path) -> tuple[set[Path], set[bytes]]:
    """Return the modules that a module imports, and its pieces: its statements and the files that it reads."""
    tree = _parsed(path)
    return _imports(tree), _statements(tree.body) | {file.read_bytes() for file in _read_by(path, tree)}


@cache
def _parsed(path: Path) -> ast.Module:
    return _Running().visit(ast.parse(path.read_text(encoding="utf-8")))


class _Running(ast.NodeTransformer):
    """Removes what never runs: docstrings, and code for type checkers only."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        return node.orelse if getattr(node.test, "id", "") == "TYPE_CHECKING" else self.generic_visit(node)


def _statements(nodes: Sequence[ast.AST]) -> set[bytes]:
    """Return the text of each statement, without imports, which only say where code is."""
    lines = (ast.unparse(node).splitlines() for node in nodes)
    return {"\n".join(line for line in text if not IMPORT.match(line)).encode() for text in lines}


def _imports(tree: ast.AST) -> set[Path]:
    """Return the package's own modules that `tree` imports, at its top or inside a function."""
    imported: set[Path] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lm_steer"):
            folder = PACKAGE.joinpath(*node.module.split(".")[1:])
            paths = [folder.with_suffix(".py"), *(folder / f"{alias.name}.py" for alias in node.names)]
            imported.update(path for path in paths if path.exists())
            # All modules of a package imported by name are loaded (util/kinds.py).
            imported.update(path for alias in node.names for path in (folder / alias.name).glob("*.py"))
    return imported


def _read_by(path: Path, tree: ast.Module) -> Iterator[Path]:
    """Yield the files beside a module, templates or tables, that it names directly or by their folder."""
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for text in filter(NAME.fullmatch, texts):
        place = path.parent / text
        if place.is_file() and place.suffix != ".py":
            yield place
        elif place.is_dir() and not (place / "__init__.py").exists():
            yield from (part for part in place.iterdir() if part.is_file())
