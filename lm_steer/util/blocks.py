"""Building blocks of a study's keys: one-line definitions, text, lists, and names of other blocks.

dataset: DatasetName = key("The name of a dataset.")      # must be a block of the section `datasets`
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError, core_schema

from lm_steer.util.options import SteerValue
from lm_steer.util.words import unknown


class Block(BaseModel):
    """One mapping of a study: immutable, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def problems(self, study: Any) -> Iterator[str]:
        """Yield what is inconsistent in the block or with the study, as `.key: sentence` or `: sentence`."""
        yield from ()


def key(description: str, default: Any = ..., **bounds: Any) -> Any:
    """Define a key of a study, required unless it has a default."""
    return Field(default, description=description, **bounds)


@dataclass(frozen=True)
class NameOf:
    """Marks text as the name of a block in a section of the study; the validation context lists the names."""

    section: str
    what: str
    optional: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.with_info_after_validator_function(self._known, handler(source))

    def _known(self, name: str, info: ValidationInfo) -> str:
        known = (info.context or {}).get(self.section)
        if known is not None and name not in known and not (self.optional and not name):
            raise ValueError(unknown(name, known, self.what))
        return name


def keys_naming(block: type[BaseModel], section: str) -> list[str]:
    """Return the keys of a block that name blocks of a section of the study."""
    fields = block.model_fields.items()
    return [key for key, field in fields if section in (getattr(mark, "section", None) for mark in field.metadata)]


def _unique(items: list[Any]) -> list[Any]:
    for item in items:
        if items.count(item) > 1:
            raise ValueError(f"{item!r} is listed twice")
    return items


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError(f"expected text that is not empty, found {text!r:.80}")
    return text


def _filled_in(value: Any, info: ValidationInfo) -> Any:
    if info.context is not None:
        raise PydanticCustomError("extra_forbidden", "no key of a config")
    return value


# Filled in by analyses; not allowed in a config.
FILLED_IN = (BeforeValidator(_filled_in), SkipJsonSchema())
Unique = AfterValidator(_unique)
AtLeastOne = Field(min_length=1)
Text = Annotated[str, AtLeastOne, AfterValidator(_not_blank)]
Dtype = Literal["float32", "bfloat16", "float16", "auto"]
ModelName = Annotated[str, NameOf("models", "model")]
DatasetName = Annotated[str, NameOf("datasets", "dataset")]
SteerName = Annotated[str, NameOf("steers", "steer")]
PromptsName = Annotated[str, NameOf("prompts", "set of prompts")]
ScorerName = Annotated[str, NameOf("scorers", "scorer")]
SettingName = Annotated[str, NameOf("settings", "setting")]
ScorerNames = Annotated[list[ScorerName], AtLeastOne, Unique]
# The value of each named dimension of a steer.
Values = dict[str, SteerValue]
SomeValues = Annotated[Values, AtLeastOne]
Points = Annotated[list[SteerValue], AtLeastOne, Unique]
