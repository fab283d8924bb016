"""The judges of texts: a block for each kind of scorer, made of the keys that its class in score/ defines."""

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import (
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
)

from lm_steer.score.registry import Kind, kind_of, kinds
from lm_steer.study.fields import Block, DatasetName, ModelName, key
from lm_steer.study.messages import sentences
from lm_steer.util.errors import LMSteerError
from lm_steer.util.options import Count

if TYPE_CHECKING:
    from lm_steer.study.config import Study

NAMES = {"models": ModelName, "datasets": DatasetName}


class ScorerBlock(Block):
    """What every scorer has."""

    if TYPE_CHECKING:
        kind: str

    prompts: Count = key("How many prompts of each setting are scored, the first ones; 0 for all.", 0)
    scores: str = key(
        "A file of earlier scores, JSON lines of `lm-steer store export`; what it has is not judged again.", ""
    )

    @property
    def described(self) -> Kind:
        """What its kind says of it: the attribute that it yields, where its judge lies, …"""
        described = kind_of(self.kind)
        return described(**{one.name: getattr(self, one.name) for one in fields(described)})

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield what its kind says is wrong."""
        yield from self.described.problems()


def block_of(name: str, kind: type[Kind]) -> type[ScorerBlock]:
    """Return the block of a kind of scorer."""
    keys: dict[str, Any] = {"kind": (Literal[name], ...)}  # type: ignore[valid-type]
    for one in fields(kind):
        default = ... if one.metadata["required"] else one.default
        keys[one.name] = (NAMES.get(one.metadata["names"], one.type), key(one.metadata["description"], default))
    return create_model(kind.__name__, __base__=ScorerBlock, __doc__=kind.__doc__, **keys)


def _checked(value: Any, checked: ValidatorFunctionWrapHandler, info: ValidationInfo) -> ScorerBlock:
    """Check a block by its kind; one of your own is found by its `module:Class`."""
    name = value.get("kind") if isinstance(value, dict) else None
    if not (isinstance(name, str) and ":" in name):
        return checked(value)
    try:
        block = block_of(name, kind_of(name))
        return block.model_validate(value, context=info.context)
    except LMSteerError as error:
        raise ValueError(str(error)) from None
    except ValidationError as error:
        said = (sentence.removeprefix("the config: ") for sentence in sentences(error, block))
        raise ValueError("; ".join(said)) from None


if TYPE_CHECKING:
    Scorer = ScorerBlock
else:
    BLOCKS = tuple(block_of(name, kind) for name, kind in kinds().items())
    Scorer = Annotated[SerializeAsAny[Union[BLOCKS]], Field(discriminator="kind"), WrapValidator(_checked)]  # noqa: UP007
