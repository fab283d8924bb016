"""A model called `lm-steer` for EleutherAI's lm-evaluation-harness: any of its tasks on a steered model.

    python -m lm_steer.interop.lm_eval run --model lm-steer --tasks lambada_openai \\
        --model_args "pretrained=openai-community/gpt2,steer=my-steer,at=detox=5 corpus=1"

It is the harness's own command line, with one more model beside `hf`: the same, with a steer on it at fixed values.
`steer` is a folder or an id of the hub; without `at` every value is 0, which is the unsteered model.
"""

from typing import Any

from lm_steer.core.steer import Steer
from lm_steer.core.values import parse_values
from lm_steer.util.errors import needs

with needs("harness"):
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.registry import register_model
    from lm_eval.models.huggingface import HFLM


@register_model("lm-steer")
class SteeredLM(HFLM):
    """A causal LM of transformers with a steer on it; takes all options of the harness's `hf` besides.

    Raises LMSteerError where the steer is missing, does not fit the model, or has no such dimension.
    """

    def __init__(self, pretrained: Any, steer: str | Steer, at: str = "", **options: Any) -> None:
        found = Steer.from_pretrained(steer) if isinstance(steer, str) else steer
        values = parse_values(at)
        found.vector(values)
        super().__init__(pretrained, **options)
        # For as long as the model lives; the harness has no end of its own for it.
        self.steering = found.attach(self.model).at(values)
        self.steering.__enter__()


if __name__ == "__main__":
    cli_evaluate()
