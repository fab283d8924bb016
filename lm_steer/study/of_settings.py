"""What analyses of several settings have in common."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from lm_steer.study.settings import AtValues, Published, Setting, Steer
from lm_steer.tables.published import is_row, names_of
from lm_steer.util.blocks import FILLED_IN, Block, PromptsName, ScorerNames, key

if TYPE_CHECKING:
    from lm_steer.study.config import Study

UNSTEERED = "Unsteered"
Point = dict[str, Any]


@dataclass
class Parts:
    """What an analysis adds to the study."""

    settings: dict[str, Setting] = field(default_factory=dict)
    steers: dict[str, Steer] = field(default_factory=dict)
    adapters: dict[str, Steer] = field(default_factory=dict)


class OfSettings(Block):
    """An analysis of the generations of several settings."""

    prompts: PromptsName = key("The name of a set of prompts.")
    scorers: ScorerNames = key("The names of scorers.")
    points: Annotated[list[Point], *FILLED_IN] = Field(default=[], exclude=True)

    def expand(self, name: str, study: "Study", parts: Parts) -> Iterator[Point]:
        """Fill `parts` with what the analysis needs, and yield its points: label, setting, and what they stand for."""
        raise NotImplementedError

    def published(self, points: list[Point], study: "Study") -> Published | None:
        """Return the paper's rows for the same settings, if any."""
        return None

    def unsteered(self, name: str, parts: Parts, **more: Any) -> Point:
        """Add the unsteered setting that the others are compared with; return its point."""
        setting = f"{name}-unsteered"
        parts.settings[setting] = Setting(prompts=self.prompts, scorers=self.scorers, **more)
        return {"label": UNSTEERED, "setting": setting}

    def steered(self, name: str, slug: str, label: str, parts: Parts, **more: Any) -> Point:
        """Add a setting that is compared with the unsteered one; return its point."""
        setting = f"{name}-{slug_of(slug)}"
        common = {"prompts": self.prompts, "scorers": self.scorers, "against": f"{name}-unsteered"}
        parts.settings[setting] = Setting(**common | more)
        return {"label": label, "setting": setting}


class OfOneSteer(AtValues, OfSettings):
    """An analysis of one steer at given values."""


def published_as(table: str, rows: dict[str, Any], prompts: str, *more: str) -> Published:
    """Return the rows that a table of the paper also has, with its names for our metrics."""
    metrics = {name: name for name in ("avg_max_toxicity", *more)} | {"perplexity_mean": "perplexity"}
    rows = {label: row for label, row in rows.items() if all(is_row(table, name) for name in names_of(row))}
    return Published(table=table, rows=rows, metrics={prompts: metrics})


def slug_of(text: str) -> str:
    """Return numbers as part of a name: -2.5 → minus2p5; letters and hyphens stay."""
    return re.sub(r"(^|(?<=[-e]))-(?=\d)", "minus", text).replace(".", "p").replace("+", "")
