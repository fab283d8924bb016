"""Sample continuations from a causal LM that is already loaded, steered or not.

generate(model, tokenizer, ["The film"], steer, {"style": 5, "corpus": 1}, samples=3)    # [[text, text, text]]
"""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lm_steer.core.attach import attach
from lm_steer.core.steer import Steer
from lm_steer.generation.continuations import continuations
from lm_steer.generation.nucleus import Sampling
from lm_steer.model.in_memory import in_memory
from lm_steer.model.load import texts_of
from lm_steer.util.errors import LMSteerError
from lm_steer.util.messages import ChatPrompt, text_of, with_system
from lm_steer.util.options import from_fields


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str] | Sequence[Sequence[Mapping[str, str]]],
    steer: Steer | None = None,
    values: Mapping[str, float] | None = None,
    *,
    chat: bool = False,
    system: str = "",
    **sampling: Any,
) -> list[list[str]]:
    """Return continuations, (prompts, samples), under a steer at `values`, or of the plain model without a steer.

    With `chat`, prompts are user messages or lists of messages, after the system message `system` if given; the
    tokenizer's chat template is applied, and an answer ends with its turn, at the latest after `new_tokens`.
    `sampling` takes the fields of `Sampling` (samples, new_tokens, top_p, top_k, seed). A continuation depends only on
    its prompt, its number and the seed, not on the other prompts.
    Raises LMSteerError if steer, values or fields do not fit, or if a prompt is too long for the model.
    """
    settings = from_fields(Sampling, sampling)
    if steer is None and values:
        raise LMSteerError("values were given without a steer: give the steer as well")
    inputs: Sequence[Any] = prompts
    if chat:
        messages = inputs if isinstance(inputs, list | tuple) else texts_of(inputs)
        inputs = [ChatPrompt(with_system(text_of(prompt), system)) for prompt in messages]
    elif system:
        raise LMSteerError("a system message is for chat prompts: give chat=True as well")
    with in_memory(model, tokenizer) as (loaded, _):
        if steer is None:
            return continuations(loaded, inputs, settings, "texts")
        with attach(model, steer).at(values):
            return continuations(loaded, inputs, settings, "texts")
