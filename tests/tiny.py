"""Tiny random models built from configs, a tiny tokenizer, and steers: real ones, made in milliseconds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    OPTConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from lm_steer import Steer

SENTENCES = [
    "The movie was a joy to watch from the first minute to the last.",
    "The film is dull, slow and far too long for what it wants to say.",
    "A warm and funny story that the whole family will love.",
    "What a waste of time; the plot makes no sense at all.",
    "The acting is fine and the music is better than that.",
    "Nobody in this movie seems to know why the others are there.",
]
WORDS = sorted({word.strip(".,;") for sentence in SENTENCES for word in sentence.split()})
SPECIAL = ["<bos>", "<eos>"]
VOCABULARY = 320
KINDS = ("multiply", "add", "offset")

_LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
_GPT = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
}

CONFIGS: dict[str, Callable[[], PretrainedConfig]] = {
    "gpt2": lambda: GPT2Config(**_GPT),
    "llama": lambda: LlamaConfig(**_LLAMA, tie_word_embeddings=False),
    "llama-tied": lambda: LlamaConfig(**_LLAMA, tie_word_embeddings=True),
    "llama-padded-vocabulary": lambda: LlamaConfig(**{**_LLAMA, "vocab_size": 384}, tie_word_embeddings=True),
    "gpt-neox": lambda: GPTNeoXConfig(
        **{key: value for key, value in _LLAMA.items() if key not in ("num_key_value_heads", "pad_token_id")}
    ),
    "gpt-j": lambda: GPTJConfig(**_GPT, rotary_dim=4),
    "opt-projected": lambda: OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        word_embed_proj_dim=24,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        do_layer_norm_before=False,
    ),
    "gemma2": lambda: Gemma2Config(**_LLAMA, head_dim=8, final_logit_softcapping=5.0),
    "granite": lambda: GraniteConfig(**_LLAMA, logits_scaling=3.0),
    "cohere": lambda: CohereConfig(**_LLAMA, logit_scale=0.25),
}


def make_model(name: str) -> PreTrainedModel:
    """Build a frozen random model whose next-token distributions are far from flat."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIGS[name](), dtype=torch.float32)
    generator = torch.Generator().manual_seed(1)
    for parameter_name, parameter in model.named_parameters():
        if parameter.dim() > 1 or parameter_name.endswith("bias"):
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.requires_grad_(False).eval()


def make_steer(
    model: PreTrainedModel,
    kind: str = "multiply",
    *,
    dimensions: tuple[str, ...] = ("style", "corpus"),
    rank: int = 3,
    epsilon: float = 0.05,
    seed: int = 0,
) -> Steer:
    """Draw a steer for `model` that is strong enough to show in every logit."""
    vocabulary, hidden = model.get_output_embeddings().weight.shape
    width = vocabulary if kind == "offset" else hidden
    shape = (len(dimensions), width, rank) if kind == "multiply" else (len(dimensions), width)
    generator = torch.Generator().manual_seed(seed)
    names = {"multiply": "AB", "add": "a", "offset": "o"}[kind]
    weights = {name: torch.randn(shape, generator=generator) for name in names}
    return Steer(dimensions, weights, kind, epsilon)


@cache
def _bpe() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer.to_str()


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on SENTENCES; like GPT-2's it has no padding token of its own."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_bpe()), bos_token=SPECIAL[0], eos_token=SPECIAL[1]
    )


@contextmanager
def blinded(model: PreTrainedModel) -> Iterator[None]:
    """Let the body of a Llama give zeros as long as the `with` lasts: it shows what is computed afresh, not found."""
    weight = model.model.norm.weight.data
    own = weight.clone()
    weight.zero_()
    yield
    weight.copy_(own)


@torch.no_grad()
def logits_of(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """Return the model's own logits."""
    return model(ids, use_cache=False).logits


# Its answers end with the end of the text, as those of many a chat model.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}:\n{{ message.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)


def make_chat_tokenizer(template: str = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    """Return the same tokenizer with a chat template."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    return tokenizer
