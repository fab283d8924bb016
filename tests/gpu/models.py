"""Small random models on the GPU, and what the plain model draws: no cache, no padding, no graph."""

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    LlamaConfig,
    Qwen3Config,
)

from lm_steer import Steer
from lm_steer.bench.shapes import _words
from lm_steer.generation.decoder import Decoder
from lm_steer.generation.nucleus import Sampling, sample_tokens, tries
from lm_steer.model.head import float32_logits
from lm_steer.model.kernels import NAME, quicken
from lm_steer.model.load import LoadedModel

# No multiple of 8, as GPT-2's.
VOCABULARY = 4099
_WIDE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "bos_token_id": VOCABULARY - 1,
    "eos_token_id": VOCABULARY - 1,
}
_GROUPED = {**_WIDE, "num_key_value_heads": 2, "pad_token_id": VOCABULARY - 1}
_GPT = {"vocab_size": VOCABULARY, "n_embd": 128, "n_layer": 3, "n_head": 4, "n_positions": 256}
_END = {"bos_token_id": VOCABULARY - 1, "eos_token_id": VOCABULARY - 1}
# Its forward pass asks the device for a number, so that it cannot be captured.
_ASKING = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
FAMILIES = {
    "gpt2": lambda: GPT2Config(**_GPT, **_END),
    "llama": lambda: LlamaConfig(**_GROUPED),
    "gpt-neox": lambda: GPTNeoXConfig(**_WIDE),
    "gpt-j": lambda: GPTJConfig(**_GPT, **_END, rotary_dim=16),
    "gemma2": lambda: Gemma2Config(**_GROUPED, head_dim=32, final_logit_softcapping=30.0),
    "gemma3": lambda: Gemma3TextConfig(**_GROUPED, head_dim=32, sliding_window=16),
    "qwen3": lambda: Qwen3Config(**_GROUPED, head_dim=32),
    "dynamic-rope": lambda: LlamaConfig(**_GROUPED, rope_parameters=_ASKING),
}
# A draw at the edge of its interval goes either way by rounding, and what follows it then differs; a steer that is
# missing, or a mask that is wrong, leaves a fifth.
AGREEMENT = {"float32": 0.998, "bfloat16": 0.5, "float16": 0.8}


def make(family: str, dtype: str, device: torch.device) -> LoadedModel:
    """Build a model whose next-token distributions are far from flat."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[family](), dtype=torch.float32)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 or name.endswith("bias"):
            size = 0.15 if parameter.dim() > 1 else 0.05
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * size)
    model = model.requires_grad_(False).eval().to(getattr(torch, dtype)).to(device)
    quicken(model)
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)
    return LoadedModel(model, _words(VOCABULARY), f"{family} {dtype}", family)


def steer_of(loaded: LoadedModel, kind: str = "multiply", seed: int = 0) -> Steer:
    """Draw a steer that shows in every logit."""
    vocabulary, width = loaded.model.get_output_embeddings().weight.shape
    generator = torch.Generator().manual_seed(seed)
    shape = {"multiply": (2, width, 8), "add": (2, width), "offset": (2, vocabulary)}[kind]
    names = {"multiply": "AB", "add": "a", "offset": "o"}[kind]
    weights = {name: torch.randn(shape, generator=generator) * 0.3 for name in names}
    return Steer(("style", "corpus"), weights, kind, 0.05)


def prompts_of(count: int, seed: int = 0) -> list[list[int]]:
    """Draw token ids of prompts of several lengths."""
    generator = torch.Generator().manual_seed(seed)
    lengths = (3, 9, 12, 16, 7)
    return [torch.randint(3, VOCABULARY - 5, (lengths[i % 5],), generator=generator).tolist() for i in range(count)]


def uniforms_of(rows: int, sampling: Sampling) -> torch.Tensor:
    """Draw the uniforms of a block."""
    return torch.rand(rows, sampling.new_tokens, tries(sampling.top_p), generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def redrawn(decoder: Decoder, ids: list[list[int]], made: torch.Tensor, uniforms: torch.Tensor) -> float:
    """Return the share of tokens that the plain model draws too, given the tokens before them."""
    loaded, sampling = decoder.loaded, decoder.sampling
    same = total = 0
    for number, row in enumerate(ids):
        prompt = torch.tensor([row], device=loaded.device).expand(sampling.samples, -1)
        whole = torch.cat([prompt, made[number]], dim=1)
        with float32_logits(loaded.model):
            logits = loaded.model(whole[:, :-1], use_cache=False).logits[:, len(row) - 1 :].float()
        logits = logits.index_fill(2, decoder.forbidden, -torch.inf)
        own = uniforms.view(len(ids), sampling.samples, *uniforms.shape[1:])[number].to(loaded.device)
        for step in range(made.shape[2]):
            drawn = sample_tokens(logits[:, step].contiguous(), own[:, step], sampling.top_p, sampling.top_k)
            same += (drawn == made[number, :, step]).sum().item()
            total += len(drawn)
    return same / total
