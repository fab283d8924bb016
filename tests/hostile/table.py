"""All hostile cases, in the order in which they are told."""

from hostile.cases import FINE, WORKING, Case
from hostile.configs import configs
from hostile.edited import edited
from hostile.exchanged import exchanged
from hostile.files import files
from hostile.handles import handles
from hostile.numbers import numbers
from hostile.options import options
from hostile.outputs import outputs
from hostile.security import security

# Without these nothing would be known of the others: what a case refuses, it must do when nothing is wrong.
SOUND = [Case("sound", command, FINE, makes="out shared/out.jsonl") for command in WORKING.values()]
CASES = list(
    dict.fromkeys(
        [
            *SOUND,
            *outputs(),
            *options(),
            *configs(),
            *files(),
            *edited(),
            *numbers(),
            *exchanged(),
            *handles(),
            *security(),
        ]
    )
)
