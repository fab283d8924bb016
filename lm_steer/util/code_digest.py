"""A digest of the code behind a command: its function in cli/ and everything it imports from the package.

    code_digest("train")          # sixteen hexadecimal digits; an edit to a line of lm_steer/core/steer.py changes it

The workflow gives each rule the digest of its command, so that an edit to the package re-runs what it makes and no
more; checkpoints carry it, so that they never outlive the code that wrote them. The digest is taken from syntax trees,
statement by statement: comments, docstrings, layout, and the file that a statement stands in do not count. Nothing is
imported.
"""

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# The relative path of a file or folder, `templates/page.css`.
NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")


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
    pieces = set(_statements(ast.parse(ast.unparse(root)))).union(*(_module(path)[1] for path in _reachable(root)))
    # Sorted by content: where a piece stands, and among what, is left out.
    digests = sorted(hashlib.sha256(piece).digest() for piece in pieces)
    return hashlib.sha256(b"".join(digests)).hexdigest()[:16]


@cache
def _module(path: Path) -> tuple[list[Path], frozenset[bytes]]:
    """Return the modules that a module imports, and its pieces: its statements, and the files that it reads."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported, beside = list(_imports(tree)), [file.read_bytes() for file in _read_by(path, tree)]
    return imported, frozenset([*_statements(tree), *beside])


def _reachable(root: ast.AST) -> set[Path]:
    """Return the package's modules that `root` imports, directly or through others."""
    reached: set[Path] = set()
    waiting = list(_imports(root))
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting.extend(_module(path)[0])
    return reached


def _statements(tree: ast.Module) -> Iterator[bytes]:
    """Yield each top-level statement as text of its own, without comments, docstrings and imports; changes the tree."""
    for node in _Bare().visit(tree).body:
        yield ast.unparse(node).encode()


class _Bare(ast.NodeTransformer):
    """Drops what does not run (docstrings) or only says where code is (imports)."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None


def _read_by(path: Path, tree: ast.Module) -> Iterator[Path]:
    """Yield the files that stand beside a module and are named in it, or lie in a folder that is: templates, tables."""
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    beside = {place.name for place in path.parent.iterdir()}
    for text in filter(NAME.fullmatch, texts):
        if text.partition("/")[0] in beside:
            place = path.parent / text
            if place.is_file() and place.suffix != ".py":
                yield place
            elif place.is_dir() and not (place / "__init__.py").exists():
                yield from (part for part in place.iterdir() if part.is_file())


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
