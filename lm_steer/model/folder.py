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


def check_own_weights(folder: Path, name: str) -> None:
    """Raise LMSteerError, which calls the folder `name`, where transformers would load weights from somewhere else.

    That is from the model that an adapter names, and from files that an index names outside the folder.
    """
    if (folder / ADAPTER).exists():
        raise LMSteerError(
            f"{name} has a file {ADAPTER}, of an adapter and not of a model: merge the adapter into its model, or "
            "remove the file where the weights are whole"
        )
    for index in folder.glob("*.safetensors.index.json"):
        for file in read_json(index, {"weight_map": dict})["weight_map"].values():
            if file != Path(str(file)).name:
                raise LMSteerError(f"{name}/{index.name} names {str(file)!r:.80}: expected files of the same folder")


def check_folder(folder: Path) -> None:
    """Raise LMSteerError for settings that are no mapping, and a config of far more than the folder's weights hold.

    Such a model would be built for hours, or until the memory is full, before its weights are found not to fit.
    """
    check_own_weights(folder, str(folder))
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
