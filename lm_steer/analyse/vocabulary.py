"""The tokens of a vocabulary, in the order of their ids, as the bytes that they stand for.

    token_bytes(tokenizer)[262]        # b" the", whether the tokenizer writes it Ġthe or ▁the
    whole_words(tokenizer)             # {262: "the", …}

Heads are often padded beyond the tokenizer, and its special tokens are no text: neither has bytes here.
"""

import re

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from lm_steer.util.errors import LMSteerError

BYTE = re.compile(r"<0x([0-9A-F]{2})>")
# The characters as which GPT-2's byte-level BPE writes bytes.
BYTES = {char: byte for byte, char in bytes_to_unicode().items()}


def token_bytes(tokenizer: PreTrainedTokenizerBase) -> list[bytes | None]:
    """Return for each id below len(tokenizer) the bytes that it adds to a text; None for special tokens."""
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = set(tokenizer.all_special_ids)
    # Byte-level vocabularies write each byte as one printable character, the others a space as ▁.
    byte_level = sum("Ġ" in token for token in tokens) > sum("▁" in token for token in tokens)
    decode = _byte_level if byte_level else _plain
    return [None if number in special else decode(token) for number, token in enumerate(tokens)]


def whole_words(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Return the tokens that may be a word by themselves, by id: a space and two letters or more.

    A vocabulary does not distinguish words from beginnings of longer ones (` distingu`), so these are included. Raises
    LMSteerError for a vocabulary without any.
    """
    words = {}
    for number, content in enumerate(token_bytes(tokenizer)):
        text = content.decode("utf-8", errors="replace") if content else ""
        if len(text) > 2 and text[0] == " " and text[1:].isalpha():
            words[number] = text[1:]
    if not words:
        raise LMSteerError("no token of the tokenizer is a whole word (a space and letters)")
    return words


def _byte_level(token: str) -> bytes:
    try:
        return bytes(BYTES[char] for char in token)
    except KeyError:
        # An added token is written as plain text.
        return token.encode()


def _plain(token: str) -> bytes:
    if match := BYTE.fullmatch(token):
        return bytes([int(match[1], 16)])
    return token.replace("▁", " ").encode()
