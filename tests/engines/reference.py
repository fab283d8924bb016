"""What every engine is compared with: the greedy texts of transformers with the attached steer."""

from collections.abc import Mapping

import torch

from lm_steer import Steer

STARTS = ("The film", "My day at work", "The new phone", "In the evening we", "Her speech")
PROMPTS = [f"{start}{rest}" for start in STARTS for rest in (" is", " was", ", which", " and then", " of")]
TOKENS = 40
# For small models of other families.
FEW = PROMPTS[::5]
Ids = list[int]


@torch.no_grad()
def greedy(loaded, steer: Steer, prompt: str, values: Mapping[str, float] | None) -> tuple[Ids, Ids]:
    """Return the prompt's ids and the greedy continuation of the model with the attached steer."""
    model, tokenizer = loaded
    ids = tokenizer(prompt)["input_ids"]
    options = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False}
    with steer.attach(model).at(values or {}):
        text = model.generate(torch.tensor([ids]), **options, pad_token_id=0, eos_token_id=None)
    return ids, text[0, len(ids) :].tolist()


@torch.no_grad()
def effect_error(loaded, steer: Steer, cases: list[tuple[Ids, Mapping[str, float]]], found: torch.Tensor) -> float:
    """Return how far log-probabilities (cases, vocabulary) are off, as a share of what the steer changes in them."""
    model, _ = loaded
    off, effect = [], []
    for (ids, values), engine in zip(cases, found, strict=True):
        plain = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        with steer.attach(model).at(values):
            steered = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        known = engine.isfinite()
        off.append((engine - steered)[known])
        effect.append((steered - plain)[known])
    return float(torch.cat(off).norm() / torch.cat(effect).norm())


def asked(texts: list[tuple[Ids, Ids]]) -> list[tuple[Ids, int]]:
    """Return prompts with numbers of new tokens: every text's prefixes, which ask for one token, then the prompts."""
    prefixes = [(ids + text[:place], 1) for ids, text in texts for place in range(len(text))]
    return [*prefixes, *((ids, len(text)) for ids, text in texts)]


def agreement(texts: list[tuple[Ids, Ids]], answers: list[Ids]) -> tuple[float, float, int]:
    """Return which shares of the answers to `asked` are the reference's, forced and free-running, and of how many."""
    expected = [token for _, text in texts for token in text]
    # llama.cpp leaves out tokens that are parts of characters: what is missing is not equal.
    pairs = zip(asked(texts), answers, strict=True)
    found = [token for (_, count), answer in pairs for token in [*answer, *[-1] * count][:count]]
    parts = found[: len(expected)], found[len(expected) :]
    forced, running = (sum(a == b for a, b in zip(part, expected, strict=True)) / len(expected) for part in parts)
    return forced, running, len(expected)
