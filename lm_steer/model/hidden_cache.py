"""Disk cache of final hidden states, computed once per text; it is not one of the workflow's files.

    memo = HiddenMemo("results/.cache/hidden.sqlite", loaded, max_length=256)
    states = memo.states(texts, "training")  # one (tokens, hidden) tensor per text

Nothing below the head learns, so the states of a text never change: every step, seed, rank and learning rate that
meets the text again finds them. They are computed in blocks that are filled up, so that a text's states do not depend
on the texts beside it, nor on what the memo held before (exactly on a CPU in fp32). A thread of its own reads and
writes the file, so that a block is written while the next one is computed.
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
# A state is a hundred kilobytes: in large pages it is written several times as fast.
PAGE = 65536
MEMO_BYTES = 8 << 30
TABLE = "CREATE TABLE IF NOT EXISTS states (key BLOB PRIMARY KEY, state BLOB NOT NULL)"
# Each reading waits for the thread that has the file.
READ_AT_ONCE = 64
# States that a training holds at once in the host's memory.
HELD_BYTES = 1 << 30

# Hidden states (tokens, hidden), targets (tokens,), and the number of each token's text in the batch (tokens,).
Packed = tuple[Tensor, Tensor, Tensor]
Result = TypeVar("Result")


def _bytes(state: Tensor) -> bytes:
    """Return a tensor's bytes; numpy has no bfloat16."""
    return state.contiguous().view(torch.uint8).cpu().numpy().tobytes()


def _checksum(state: bytes | bytearray) -> bytes:
    """Return the checksum that is stored after a state: sqlite does not notice changed content."""
    return zlib.crc32(state).to_bytes(CHECKSUM)


def _opened(path: Path) -> sqlite3.Connection:
    if not path.exists():
        # The size of pages is settled with the first table, and before there is a write-ahead log.
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
    """Head inputs by text for one model, in an sqlite file of at most MEMO_BYTES of states."""

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
        """Tokenise texts as the training sees them, cut to `max_length` and to the model's context."""
        return self.loaded.token_ids(texts, min(self.max_length, self.loaded.context or self.max_length))

    def ensure(self, texts: Sequence[str], what: str) -> None:
        """Compute and store the states of texts that are not in the cache."""
        ids = self._ids(texts)
        keys = [self._key(row) for row in ids.values()]
        select = "SELECT 1 FROM states WHERE key = ?"
        known = self._do(lambda memo: [memo.execute(select, (key,)).fetchone() is not None for key in keys])
        missing = {text: row for (text, row), has in zip(ids.items(), known, strict=True) if not has}
        for _ in self._computed(missing, what, len(ids) - len(missing)):
            pass

    def states(self, texts: Sequence[str], what: str) -> dict[str, Tensor]:
        """Return the head inputs (tokens, hidden) of texts, in the host's memory, computing those that are missing."""
        ids = self._ids(texts)
        found = {text: state for text, state in self._read(ids) if state is not None}
        missing = {text: row for text, row in ids.items() if text not in found}
        return found | dict(self._computed(missing, what, len(found)))

    def state(self, text: str) -> Tensor:
        """Return the head inputs (tokens, hidden) of one text, on the model's device."""
        return self.states([text], "again")[text].to(self.weight.device)

    def _ids(self, texts: Sequence[str]) -> dict[str, list[int]]:
        different = list(dict.fromkeys(texts))
        return dict(zip(different, self.token_ids(different), strict=True))

    def _computed(self, missing: dict[str, list[int]], what: str, found: int) -> Iterator[tuple[str, Tensor]]:
        """Compute the states of texts, keep them, and yield each with its text."""
        # What probes a model imports this module.
        from lm_steer.model.probe import filled_up_to, pads_right

        if not missing:
            return
        texts, ids = list(missing), list(missing.values())
        device = self.weight.device.type
        with Progress(f"{what}: hidden states", len(missing) + found, "text") as progress:
            progress.skip(found)
            step = STEP if pads_right(self.loaded) else 1
            # Padding must not push a text that fits out of the context.
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
            self._written()

    def _written(self) -> None:
        """Wait for the block that is being written, and raise what went wrong."""
        if self.writing:
            self.writing.result()

    def _key(self, ids: list[int]) -> bytes:
        # What was tokenised counts, not the text: a tokenizer may change, or a text be cut.
        return hashlib.sha256(f"{self.code}\0{self.loaded.fingerprint}\0{ids}".encode()).digest()

    def _do(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        return self.thread.submit(self._run, action).result()

    def _run(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run a statement, in the thread; a damaged file gives way to an empty one, since all can be recomputed."""
        try:
            self.database = self.database or _opened(self.path)
            return action(self.database)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            say(f"{self.path} is damaged ({error}): its hidden states are computed again")
        if self.database:
            self.database.close()
        remove_database(self.path)
        self.database, self.size = _opened(self.path), 0
        return action(self.database)

    def _read(self, ids: dict[str, list[int]]) -> Iterator[tuple[str, Tensor | None]]:
        """Yield texts with their states, None where they are not kept or are damaged."""
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
        state = bytearray(row[0][:-CHECKSUM])
        if _checksum(state) != row[0][-CHECKSUM:]:
            say(f"{self.path} is damaged (a state that was changed): it is computed again")
            return None
        return torch.frombuffer(state, dtype=self.weight.dtype).view(-1, self.weight.shape[1])

    def _keep(self, block: list[tuple[list[int], Tensor]]) -> None:
        """Write states, while the caller goes on, after dropping the oldest where the memo would outgrow its bound."""
        self._written()
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
    """Hidden states of the texts that the coming steps draw, as many as HELD_BYTES hold: a window of the memo.

    Only what a text adds to its prompt is predicted.
    """

    def __init__(self, memo: HiddenMemo, prompts: Sequence[str], texts: Sequence[str], draw: Tensor, what: str) -> None:
        """draw (steps, batch) are the indices of each step's texts."""
        self.memo, self.prompts, self.texts, self.draw, self.what = memo, prompts, texts, draw, what
        self.held: dict[int, tuple[Tensor, Tensor]] = {}

    def packed(self, step: int) -> Packed:
        """Return the states, targets and rows of a step, one text after another without padding."""
        batch = self.draw[step].tolist()
        if any(index not in self.held for index in batch):
            self._take_in(step)
        hidden, targets = zip(*(self.held[index] for index in batch), strict=True)
        rows = torch.tensor([number for number, part in enumerate(targets) for _ in range(len(part))])
        device = self.memo.loaded.device
        return sent(torch.cat(hidden), device), sent(torch.cat(targets), device), sent(rows, device)

    def _take_in(self, step: int) -> None:
        """Hold the states from `step` on, and no longer those before."""
        self.held.clear()
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
        self.held = {
            index: (states[wholes[index]][given - 1 : -1], torch.tensor(row[given:]))
            for index, (row, given) in ids.items()
        }


def completions(memo: HiddenMemo, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], int]]:
    """Return the ids of each prompt and its text together, and how many of them are given, at least the first one.

    Given are the prompt's own, as far as none of them merges with the text.
    """
    wholes = memo.token_ids([prompt + text for prompt, text in pairs])
    starts = memo.token_ids([prompt for prompt, _ in pairs])
    return [(whole, _common(whole, start)) for whole, start in zip(wholes, starts, strict=True)]


def _common(whole: Sequence[int], prompt: Sequence[int]) -> int:
    differing = (index for index, pair in enumerate(zip(whole, prompt, strict=False)) if pair[0] != pair[1])
    return max(1, next(differing, min(len(whole), len(prompt))))
