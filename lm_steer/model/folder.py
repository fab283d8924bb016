"""What a model's folder says of itself, looked through before anything is built of it.

check_folder(Path("results/models/smollm2"))
"""

import math
import re
from pathlib import Path

from safetensors import safe_open

from lm_steer.util.errors import LMSteerError
from lm_steer.util.files import read_json, reading
from lm_steer.util.options import is_whole

# Keys of a config.json that say how much is built.
LAYERS = re.compile(r"(num|n)_(hidden_|decoder_|encoder_)?layers?")
SIZES = re.compile(
    r"vocab_size|hidden_size|intermediate_size|head_dim|d_model|n_embd|n_inner|ffn_dim|(num|n)_.*(heads?|experts)"
)
ADAPTER = "adapter_config.json"
SETTINGS = ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json")


def check_folder(folder: Path) -> None:
    """Raise LMSteerError for settings that are no mapping, an adapter, and a config of far more than the weights hold.

    A model of the last kind would be built for hours, or until the memory is full, before its weights are found not to
    fit. In the place of one with an adapter transformers loads whatever model the adapter names.
    """
    if (folder / ADAPTER).exists():
        raise LMSteerError(
            f"{folder} has a file {ADAPTER}, of an adapter and not of a model: merge the adapter into its model, or "
            "remove the file where the weights are whole"
        )
    for name in SETTINGS:
        if (folder / name).exists():
            read_json(folder / name, dict)
    weights = [path for path in folder.glob("*.safetensors") if (folder / "config.json").exists()]
    shapes: list[list[int]] = []
    for path in weights:
        with reading(path, "a whole safetensors file"), safe_open(path, "pt") as file:
            shapes += [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    if not shapes:
        return
    # Packed weights are up to eight times as many.
    largest = 8 * max(size for shape in shapes for size in [1, *shape])
    config = read_json(folder / "config.json", dict)
    of_text = config.get("text_config")
    for name, value in [*config.items(), *(of_text.items() if isinstance(of_text, dict) else ())]:
        most = len(shapes) if LAYERS.fullmatch(name) else largest if SIZES.fullmatch(name) else math.inf
        if is_whole(value) and value > most:
            raise LMSteerError(
                f"{folder / 'config.json'}: {name} is {value:,}, but the {len(shapes):,} tensors of its weights are of "
                "a smaller one: one of the two is of another model"
            )
