"""Perplexity by a causal language model, as a study configures it; perplexity.py computes it."""

from pathlib import Path

from lm_steer.data import layout
from lm_steer.score.registry import Kind
from lm_steer.score.store import Scorer
from lm_steer.util.blocks import ModelName, key
from lm_steer.util.formats import hub_name


class CausalLM(Kind):
    """Perplexity, by a causal language model."""

    yields = "perplexity"
    by_model = True
    folder = "models"

    model: ModelName = key("The name of the judging model.")

    def resource(self, name: str) -> str:
        """Return the folder of the study's model."""
        return layout.model("results", self.model)

    def scorer(self, resource: str = "", dtype: str = "float32") -> Scorer:
        """Load the model."""
        from lm_steer.model.load import load_model
        from lm_steer.score.perplexity import causal_lm

        return causal_lm(load_model(resource, dtype=dtype), hub_name(resource) or Path(resource).name)
