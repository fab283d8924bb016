"""The page."""

from pathlib import Path


def write_page(study: str, results: Path, output: Path) -> None: ...
