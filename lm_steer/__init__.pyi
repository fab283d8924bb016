# Every public name and its module, listed only here: __init__.py reads this file.
from lm_steer.analyse.calibrate import calibrate as calibrate
from lm_steer.analyse.directions import directions as directions
from lm_steer.analyse.evidence import evidence as evidence
from lm_steer.analyse.transfer import transfer as transfer
from lm_steer.core.attach import attach as attach
from lm_steer.core.attach import detach as detach
from lm_steer.core.fold import fold as fold
from lm_steer.core.steer import Steer as Steer
from lm_steer.core.steer import compose as compose
from lm_steer.generation.generate import generate as generate
from lm_steer.generation.nucleus import Sampling as Sampling
from lm_steer.interop.logits import logits_map as logits_map
from lm_steer.model.load import load_model as load_model
from lm_steer.model.obtain import folder_of as folder_of
from lm_steer.report.card import push as push
from lm_steer.tables.evaluate import evaluate as evaluate
from lm_steer.training.learn import Recipe as Recipe
from lm_steer.training.train import train as train
from lm_steer.util.errors import LMSteerError as LMSteerError

__all__: list[str]
__version__: str
