"""Write the repository's address from pyproject.toml wherever it is needed: docs and badges.

python workflow/scripts/address.py          # `make docs`
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = ("pyproject.toml", "README.md", "CITATION.cff", "workflow/docs/**/*.md", "workflow/docs/**/*.ipynb")
OWNED = re.compile(
    r"(?<=github\.com/)[\w.-]+(?=/lm-steer)|(?<=/github/)[\w.-]+(?=/lm-steer)|(?<=github\(\")[\w.-]+(?=/)"
)
SITE = re.compile(r"[\w-]+(?=\.github\.io/lm-steer)")
BADGES = re.compile(r"(?<=<!-- badges -->\n).*?(?=<!-- end -->)", re.DOTALL)
# The owner in pyproject.toml until there is a repository.
NOBODY = "OWNER"


def address() -> str:
    """Return the repository's address."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["urls"]["Repository"])


def written(text: str, repository: str) -> str:
    """Return a text with its addresses replaced by this one, and with badges if there is a repository."""
    owner = repository.split("/")[-2]
    badges = "" if owner == NOBODY else _badges(repository, f"https://{owner}.github.io/lm-steer")
    return BADGES.sub(badges, SITE.sub(owner, OWNED.sub(owner, text)))


def _badges(repository: str, site: str) -> str:
    runs = f"{repository}/actions/workflows/tests.yml"
    shown = {
        "tests": (f"{runs}/badge.svg", runs),
        "docs": ("https://img.shields.io/badge/docs-site-blue", site),
        "PyPI": ("https://img.shields.io/pypi/v/lm-steer", "https://pypi.org/project/lm-steer"),
        "Open in Colab": ("https://colab.research.google.com/assets/colab-badge.svg", _colab(repository)),
    }
    return "".join(f"[![{name}]({image})]({target})\n" for name, (image, target) in shown.items())


def _colab(repository: str) -> str:
    place = repository.replace("https://github.com", "https://colab.research.google.com/github")
    return f"{place}/blob/main/workflow/docs/notebooks/idea.ipynb"


if __name__ == "__main__":
    for path in (path for pattern in FILES for path in ROOT.glob(pattern)):
        text = path.read_text(encoding="utf-8")
        path.write_text(written(text, address()), encoding="utf-8")
