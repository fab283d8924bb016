"""Disk cache of final hidden states, computed once per text; not an output of the workflow.

    memo = HiddenMemo("results/.cache/hidden.sqlite", loaded, max_length=256)
    states = memo.states(texts, "training")  # one (tokens, hidden) tensor per text

The model is frozen, so the states of a text never change, and every step, seed, rank and learning rate reuses them.
Blocks are filled up to fixed sizes, so that a text's states depend neither on the other texts nor on what was cached
before (exactly on a CPU in fp32). A separate thread reads and writes the file: a block is written while the next one
is computed.
"""

import hashlib
import sqlite3
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from lm_steer.model.blocks import STEP, TOKENS, blocks_of, padded_states, round_up, sent
from lm_steer.model.head import head_weight, output_head
from lm_steer.model.load import LoadedModel
from lm_steer.util.code_digest import module_digest
from lm_steer.util.database import is_damage, open_database, remove_database, transaction
from lm_steer.util.outputs import writable
from lm_steer.util.progress import Progress, say

CHECKSUM = 4
# A text's states take about 100 kB, and large pages make writing them several times as fast.
PAGE = 65536
MEMO_BYTES = 8 << 30
TABLE = "CREATE TABLE IF NOT EXISTS states (key BLOB PRIMARY KEY, state BLOB NOT NULL)"
# Every read waits for the thread that owns the file.
READ_AT_ONCE = 64
# States that a training holds at once in host memory.
HELD_BYTES = 1 << 30

# Hidden states (tokens, hidden), targets (tokens,), and each token's row in the batch (tokens,).
Packed = tuple[Tensor, Tensor, Tensor]
Result = TypeVar("Result")


def _bytes(state: Tensor) -> bytes:
    """Return a tensor's bytes, viewed as uint8 because NumPy has no bfloat16."""
    return state.contiguous().view(torch.uint8).cpu().numpy().tobytes()


def _checksum(state: bytes | bytearray) -> bytes:
    """Return the checksum that is stored after a state, because sqlite does not detect changed content."""
    return zlib.crc32(state).to_bytes(CHECKSUM)


def _opened(path: Path) -> sqlite3.Connection:
    if not path.exists():
        # The page size must be set before the first table and before the write-ahead log.
        writable(path).parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path)) as empty:
            empty.execute(f"PRAGMA page_size={PAGE}")
            empty.execute(TABLE)
    database = open_database(path)
    try:
        database.execute("PRAGMA synchronous=OFF")
        database.execute(TABLE)
    except sqlite3.Error:
        database.close()
        raise
    return database


class HiddenMemo:
    """Cache of one model's head inputs by text, in an sqlite file with at most MEMO_BYTES of states."""

    def __init__(self, path: str | Path, loaded: LoadedModel, max_length: int) -> None:
        self.loaded, self.max_length = loaded, max_length
        self.weight = head_weight(output_head(loaded.model))
        self.code = module_digest(__name__)
        self.path = Path(path)
        self.database: sqlite3.Connection | None = None
        self.thread = ThreadPoolExecutor(1)
        self.writing: Future[None] | None = None
        self.size = self._size()

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenise texts as training sees them, cut to `max_length` and to the model's context."""
        return self.loaded.token_ids(texts, min(self.max_length, self.loaded.context or self.max_length))

    def ensure(self, texts: Sequence[str], what: str) -> None:
        """Compute and store the states of texts that are not in the cache."""
        ids = self._ids(texts)
        select = "SELECT 1 FROM states WHERE key = ?"
        rows = self._do(lambda memo: [memo.execute(select, (self._key(row),)).fetchone() for row in ids.values()])
        missing = {text: ids[text] for text, row in zip(ids, rows, strict=True) if row is None}
        for _ in self._computed(missing, what, len(ids) - len(missing)):
            pass

    def states(self, texts: Sequence[str], what: str) -> dict[str, Tensor]:
        """Return the head inputs (tokens, hidden) of texts, in host memory, computing those that are missing."""
        ids = self._ids(texts)
        cached = {text: state for text, state in self._read(ids) if state is not None}
        missing = {text: row for text, row in ids.items() if text not in cached}
        return cached | dict(self._computed(missing, what, len(cached)))

    def state(self, text: str) -> Tensor:
        """Return the head inputs (tokens, hidden) of one text, on the model's device."""
        return self.states([text], "again")[text].to(self.weight.device)

    def _ids(self, texts: Sequence[str]) -> dict[str, list[int]]:
        distinct = list(dict.fromkeys(texts))
        return dict(zip(distinct, self.token_ids(distinct), strict=True))

    def _computed(self, missing: dict[str, list[int]], what: str, cached: int) -> Iterator[tuple[str, Tensor]]:
        """Compute and store the states of texts, and yield each with its text."""
        # The probe imports this module.
        from lm_steer.model.probe import filled_up_to, pads_right

        if not missing:
            return
        texts, ids = list(missing), list(missing.values())
        device = self.weight.device.type
        with Progress(f"{what}: hidden states", len(missing) + cached, "text") as progress:
            progress.skip(cached)
            step = STEP if pads_right(self.loaded) else 1
            # Padding must not push a fitting text beyond the context.
            keys = [min(round_up(len(row), step), self.loaded.context or sys.maxsize) for row in ids]
            mixed = device != "cpu" and step > 1
            for length, full, indices in blocks_of(keys, lambda length: max(1, TOKENS[device] // length), mixed):
                rows = [ids[index] for index in indices]
                size = filled_up_to(self.loaded, len(rows), full, length) if device == "cpu" else len(rows)
                filled = rows + [rows[-1]] * (size - len(rows))
                states = padded_states(self.loaded, filled, length).to(self.weight.dtype).cpu()
                block = [
                    (index, state[: len(ids[index])])
                    for index, state in zip(indices, states[: len(indices)], strict=True)
                ]
                self._keep([(ids[index], state) for index, state in block])
                yield from ((texts[index], state) for index, state in block)
                progress.advance(len(indices))
            self._finish_writing()

    def _finish_writing(self) -> None:
        """Wait until the last block is written, and raise the error if writing it failed."""
        if self.writing:
            self.writing.result()

    def _key(self, ids: list[int]) -> bytes:
        # Token ids and not the text, because a tokenizer may change and a text may be cut.
        return hashlib.sha256(f"{self.code}\0{self.loaded.fingerprint}\0{ids}".encode()).digest()

    def _do(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        return self.thread.submit(self._run, action).result()

    def _run(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run a statement in the thread; a damaged file is replaced by an empty one, and its states recomputed."""
        try:
            self.database = self.database or _opened(self.path)
            return action(self.database)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            say(f"{self.path} is damaged ({error}): recomputing its hidden states")
        if self.database:
            self.database.close()
        remove_database(self.path)
        self.database, self.size = _opened(self.path), 0
        return action(self.database)

    def _read(self, ids: dict[str, list[int]]) -> Iterator[tuple[str, Tensor | None]]:
        """Yield texts with their states, None if they are not cached or damaged."""
        select = "SELECT CAST(state AS BLOB) FROM states WHERE key = ?"
        texts = list(ids)
        for start in range(0, len(texts), READ_AT_ONCE):
            part = texts[start : start + READ_AT_ONCE]
            keys = [self._key(ids[text]) for text in part]
            rows = self._do(lambda memo: [memo.execute(select, (key,)).fetchone() for key in keys])  # noqa: B023
            yield from ((text, self._state(row)) for text, row in zip(part, rows, strict=True))

    def _state(self, row: tuple[bytes] | None) -> Tensor | None:
        if row is None:
            return None
        state = bytearray(row[0])
        if _checksum(state[:-CHECKSUM]) != row[0][-CHECKSUM:]:
            say(f"{self.path} is damaged (the checksum of a state does not match): recomputing it")
            return None
        # With its checksum, for a text without tokens has no bytes, of which torch makes no tensor.
        whole = torch.frombuffer(state, dtype=torch.uint8)[:-CHECKSUM]
        return whole.view(self.weight.dtype).view(-1, self.weight.shape[1])

    def _keep(self, block: list[tuple[list[int], Tensor]]) -> None:
        """Write states in the background, dropping the oldest half first if the cache would exceed its bound."""
        self._finish_writing()
        size = sum(state.nbytes + CHECKSUM for _, state in block)
        if size > MEMO_BYTES:
            return
        if self.size + size > MEMO_BYTES:
            older = "DELETE FROM states WHERE rowid <= (SELECT max(rowid) - count(*) / 2 FROM states)"
            self._do(lambda memo: memo.execute(older).rowcount)
            self.size = self._size()

        def write(memo: sqlite3.Connection) -> None:
            states = ((self._key(ids), _bytes(state)) for ids, state in block)
            with transaction(memo):
                memo.executemany(
                    "INSERT OR REPLACE INTO states VALUES (?, ?)",
                    ((key, state + _checksum(state)) for key, state in states),
                )

        self.writing = self.thread.submit(self._run, write)
        self.size += size

    def _size(self) -> int:
        return self._do(lambda memo: memo.execute("SELECT coalesce(sum(length(state)), 0) FROM states").fetchone())[0]


class DrawnStates:
    """Hidden states of the texts of the next steps, as many as fit in HELD_BYTES, read ahead from the cache.

    Only the tokens that a text adds to its prompt are targets.
    """

    def __init__(self, memo: HiddenMemo, prompts: Sequence[str], texts: Sequence[str], draw: Tensor, what: str) -> None:
        """`draw` (steps, batch) holds the indices of each step's texts."""
        self.memo, self.prompts, self.texts, self.draw, self.what = memo, prompts, texts, draw, what
        self.window: dict[int, tuple[Tensor, Tensor]] = {}

    def packed(self, step: int) -> Packed:
        """Return the states, targets and rows of a step, one text after another without padding."""
        batch = self.draw[step].tolist()
        if any(index not in self.window for index in batch):
            self._move_to(step)
        hidden, targets = zip(*(self.window[index] for index in batch), strict=True)
        rows = torch.tensor([number for number, part in enumerate(targets) for _ in range(len(part))])
        device = self.memo.loaded.device
        return sent(torch.cat(hidden), device), sent(torch.cat(targets), device), sent(rows, device)

    def _move_to(self, step: int) -> None:
        """Move the window to the states from `step` on."""
        self.window.clear()
        ids: dict[int, tuple[list[int], int]] = {}
        room = HELD_BYTES // (self.memo.weight.shape[1] * self.memo.weight.element_size())
        for number in range(step, len(self.draw)):
            if ids and room <= 0:
                break
            new = sorted({*self.draw[number].tolist()}.difference(ids))
            pairs = [(self.prompts[index], self.texts[index]) for index in new]
            ids |= dict(zip(new, completions(self.memo, pairs), strict=True))
            room -= sum(len(ids[index][0]) for index in new)
        wholes = {index: self.prompts[index] + self.texts[index] for index in ids}
        states = self.memo.states(list(wholes.values()), self.what)
        self.window = {
            index: (states[wholes[index]][start - 1 : -1], torch.tensor(row[start:]))
            for index, (row, start) in ids.items()
        }


def completions(memo: HiddenMemo, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], int]]:
    """Return the ids of each prompt with its text, and the index of the first target, at least 1.

    A prompt's last tokens are targets too if they merge with the text.
    """
    wholes = memo.token_ids([prompt + text for prompt, text in pairs])
    starts = memo.token_ids([prompt for prompt, _ in pairs])
    return [(whole, _common(whole, start)) for whole, start in zip(wholes, starts, strict=True)]


def _common(whole: Sequence[int], prompt: Sequence[int]) -> int:
    differing = (index for index, pair in enumerate(zip(whole, prompt, strict=False)) if pair[0] != pair[1])
    return max(1, next(differing, min(len(whole), len(prompt))))
