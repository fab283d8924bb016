"""What generation, perplexity and training should give, restated by the plainest means: one text at a time.

continuations(loaded, prompts, sampling)       # no cache, no padding, no batch; the package's own random numbers
nll(loaded, item)                              # from the logits of the whole text
"""

from collections.abc import Sequence

import tiny
import torch

from lm_steer.generation import continuations as generate_module
from lm_steer.generation.nucleus import Sampling, sample_tokens
from lm_steer.model.load import LoadedModel
from lm_steer.score.store import Item


def continuations(loaded: LoadedModel, prompts: Sequence[str], sampling: Sampling) -> list[list[str]]:
    """Return texts (prompts, samples)."""
    tokenizer, vocabulary = loaded.tokenizer, loaded.model.get_output_embeddings().weight.shape[0]
    special = {index for index in tokenizer.all_special_ids if index < vocabulary}
    forbidden = special | {*range(len(tokenizer), vocabulary)}
    texts = []
    for prompt in prompts:
        uniforms = torch.from_numpy(generate_module._uniforms(generate_module._keys([prompt]), sampling))
        start = tokenizer(prompt)["input_ids"]
        rows = []
        for sample in range(sampling.samples):
            ids = list(start)
            for step in range(sampling.new_tokens):
                logits = tiny.logits_of(loaded.model, torch.tensor([ids]))[0, -1:].float()
                logits[:, sorted(forbidden)] = -torch.inf
                draws = uniforms[sample, step][None].float()
                ids.append(sample_tokens(logits, draws, sampling.top_p, sampling.top_k).item())
            rows.append(tokenizer.decode(ids)[len(tokenizer.decode(start)) :])
        texts.append(rows)
    return texts


def nll(loaded: LoadedModel, item: Item) -> tuple[float, int]:
    """Return NLL(whole) - NLL(prompt), and their difference in tokens."""

    def of(text: str) -> tuple[float, int]:
        ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
        if ids.shape[1] < 2:
            return 0.0, ids.shape[1]
        return token_nlls(loaded, ids).sum().item(), ids.shape[1]

    (whole, all_tokens), (prompt, prompt_tokens) = of(item.prompt + item.continuation), of(item.prompt)
    return whole - prompt, all_tokens - prompt_tokens


def token_nlls(loaded: LoadedModel, ids: torch.Tensor) -> torch.Tensor:
    """Return the NLL (tokens - 1,) of each token of one text, ids (1, tokens), but the first."""
    logits = tiny.logits_of(loaded.model, ids)[0, :-1].double()
    return -logits.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]


def is_causal(loaded: LoadedModel, text: str) -> bool:
    """Tell whether a token's logits depend on those before it alone."""
    ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
    whole = tiny.logits_of(loaded.model, ids)[0]
    ends = range(0, ids.shape[1], 4)
    alone = [tiny.logits_of(loaded.model, ids[:, : end + 1])[0, -1] for end in ends]
    return torch.allclose(whole[list(ends)], torch.stack(alone), atol=1e-3)
