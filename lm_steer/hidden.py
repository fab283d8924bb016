"""Head inputs of a frozen body: computed once a text, kept on disk outside the workflow's files.

    memo = HiddenMemo("results/.cache/hidden.sqlite", loaded, max_length=256)
    states = memo.states(texts)              # one (tokens - 1, hidden) tensor a text, with its targets

Nothing below the head learns, so the states of a text never change: every step, seed, rank and learning rate that
meets the text again finds them. They are computed in blocks of fixed shape, so that a text's states do not depend
on the texts beside it, nor on what the memo held before (exactly on a CPU in fp32).
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lm_steer.attach import output_head
from lm_steer.files import sha256_of
from lm_steer.models import LoadedModel
from lm_steer.progress import Progress

ROWS = 16
MEMO_BYTES = 8 << 30

Key = TypeVar("Key", int, tuple[int, int])


class _HeadReached(Exception):
    """Raised by the hook to leave the forward pass before the logits are made."""


@torch.no_grad()
def head_inputs(model: PreTrainedModel, ids: Tensor, mask: Tensor, **options: Any) -> Tensor:
    """Return what reaches the head, (rows, positions, hidden), for token ids and their attention mask.

    Other options of the model's forward pass go through, such as a cache to read and to fill.
    """
    caught: list[Tensor] = []

    def catch(_module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        caught.append(inputs[0])
        raise _HeadReached

    # Before any steer's hook, so that the states are those of the plain model.
    hook = output_head(model).register_forward_pre_hook(catch, prepend=True)
    try:
        model(input_ids=ids, attention_mask=mask, **{"use_cache": False, **options})
    except _HeadReached:
        return caught[0]
    finally:
        hook.remove()
    raise AssertionError("the model ran without its head")


def blocks_of(keys: Sequence[Key], rows: Callable[[Key], int]) -> Iterator[tuple[Key, int, list[int]]]:
    """Group indices by key, the largest key first: (key, rows of a full block, indices of this block).

    A key is the padded length of an item, or several; filled up to its rows, a block has a shape that depends on
    its key alone.
    """
    groups: dict[Key, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    for key in sorted(groups, reverse=True):
        full = rows(key)
        for start in range(0, len(groups[key]), full):
            yield key, full, groups[key][start : start + full]


def _bytes(state: Tensor) -> bytes:
    """Return a tensor's bytes; numpy has no bfloat16."""
    return state.contiguous().view(torch.uint8).cpu().numpy().tobytes()


def round_up(length: int, step: int = 8) -> int:
    """Return the smallest positive multiple of `step` that holds `length`."""
    return max(1, -(-length // step)) * step


class HiddenMemo:
    """Head inputs by text for one model, in an sqlite file of at most MEMO_BYTES."""

    def __init__(self, path: str | Path, loaded: LoadedModel, max_length: int) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.loaded, self.max_length = loaded, max_length
        self.code = sha256_of(__file__)
        self.database = sqlite3.connect(path, timeout=60, isolation_level=None)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute("PRAGMA synchronous=OFF")
        self.database.execute("CREATE TABLE IF NOT EXISTS states (key BLOB PRIMARY KEY, state BLOB NOT NULL)")

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenise texts as the training sees them, cut to `max_length`."""
        if not texts:
            # The tokenizer cannot take an empty list.
            return []
        return self.loaded.tokenizer(list(texts), truncation=True, max_length=self.max_length)["input_ids"]

    def ensure(self, texts: Sequence[str], what: str) -> None:
        """Compute and keep the states of those texts that the memo lacks."""
        texts = list(dict.fromkeys(texts))
        missing = [text for text in texts if not self._has(self._key(text))]
        with Progress(f"{what}: hidden states", len(texts), "text") as progress:
            progress.skip(len(texts) - len(missing))
            ids = self.token_ids(missing)
            for length, _, indices in blocks_of([round_up(len(row)) for row in ids], lambda _: ROWS):
                states = self._block([ids[index] for index in indices], length)
                rows = [(self._key(missing[i]), _bytes(state)) for i, state in zip(indices, states, strict=True)]
                self.database.executemany("INSERT OR REPLACE INTO states VALUES (?, ?)", rows)
                progress.advance(len(indices))
        self._shrink()

    def state(self, text: str) -> Tensor:
        """Return the head inputs (tokens, hidden) of a text that `ensure` has seen."""
        row = self.database.execute("SELECT state FROM states WHERE key = ?", (self._key(text),)).fetchone()
        if row is None:
            self.ensure([text], "again")
            return self.state(text)
        weight = output_head(self.loaded.model).weight
        return torch.frombuffer(bytearray(row[0]), dtype=weight.dtype).view(-1, weight.shape[1]).to(weight.device)

    def _block(self, ids: list[list[int]], length: int) -> list[Tensor]:
        rows = ids + [ids[-1]] * (ROWS - len(ids))
        padding = self.loaded.tokenizer.pad_token_id
        tokens = torch.tensor([row + [padding] * (length - len(row)) for row in rows], device=self.loaded.device)
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], device=self.loaded.device)
        states = head_inputs(self.loaded.model, tokens, mask).to(output_head(self.loaded.model).weight.dtype)
        return [state[: len(row)] for state, row in zip(states, ids, strict=False)]

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(f"{self.code}\0{self.loaded.fingerprint}\0{self.max_length}\0{text}".encode()).digest()

    def _has(self, key: bytes) -> bool:
        return self.database.execute("SELECT 1 FROM states WHERE key = ?", (key,)).fetchone() is not None

    def _shrink(self) -> None:
        """Drop the oldest states where the memo has outgrown its bound."""
        size = self.database.execute("SELECT coalesce(sum(length(state)), 0) FROM states").fetchone()[0]
        if size > MEMO_BYTES:
            self.database.execute("DELETE FROM states WHERE rowid <= (SELECT max(rowid) - count(*) / 2 FROM states)")
