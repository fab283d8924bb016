"""Head inputs of a frozen body: computed once a text, kept on disk outside the workflow's files.

    memo = HiddenMemo("results/.cache/hidden.sqlite", loaded, max_length=256)
    states = memo.states(texts, "training")  # one (tokens, hidden) tensor a text

Nothing below the head learns, so the states of a text never change: every step, seed, rank and learning rate that
meets the text again finds them. They are computed in blocks of fixed shape, so that a text's states do not depend
on the texts beside it, nor on what the memo held before (exactly on a CPU in fp32).
"""

import hashlib
import sqlite3
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lm_steer.attach import output_head
from lm_steer.database import is_damage, open_database, remove_database, transaction
from lm_steer.digest import module_digest
from lm_steer.errors import LMSteerError
from lm_steer.models import LoadedModel
from lm_steer.progress import Progress, say

# Tokens of a block, and the multiple that texts are padded to.
TOKENS = {"cpu": 512, "cuda": 16384}
STEP = 4
CHECKSUM = 4
# Lengths of the two texts that a model is probed with.
PROBED = (41, 22)
# What rounding may change, relative to the norm of a state.
TOLERANCE, HALF_TOLERANCE = 1e-3, 0.1
MEMO_BYTES = 8 << 30
# States that a training holds at once in the host's memory.
HELD_BYTES = 1 << 30

# Hidden states (tokens, hidden), targets (tokens,), and the number of each token's text in the batch (tokens,).
Packed = tuple[Tensor, Tensor, Tensor]

Probed = TypeVar("Probed")
Key = TypeVar("Key", int, tuple[int, int])
Result = TypeVar("Result")


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


def padded_right(loaded: LoadedModel, rows: list[list[int]], length: int) -> tuple[Tensor, Tensor]:
    """Return token ids and their mask, (rows, length), padded on the right."""
    padding, device = loaded.tokenizer.pad_token_id, loaded.device
    tokens = torch.tensor([row + [padding] * (length - len(row)) for row in rows], device=device)
    return tokens, torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], device=device)


def padded_states(loaded: LoadedModel, rows: list[list[int]], length: int) -> Tensor:
    """Return the head inputs (rows, length, hidden) of token ids that are padded on the right."""
    return head_inputs(loaded.model, *padded_right(loaded, rows, length))


def probe(learn: Callable[[LoadedModel], Probed]) -> Callable[[LoadedModel], Probed]:
    """Make a function of a model run once for each; LMSteerError where its few tokens do not fit the memory."""

    @wraps(learn)
    @torch.no_grad()
    def once(loaded: LoadedModel) -> Probed:
        if learn not in loaded.probed:
            try:
                loaded.probed[learn] = learn(loaded)
            except torch.OutOfMemoryError:
                advice = "load the model in half precision, or on a larger device"
                raise LMSteerError(f"a few tokens do not fit the memory of {loaded.device}: {advice}") from None
        return loaded.probed[learn]

    return once


@probe
def pads_right(loaded: LoadedModel) -> bool:
    """Whether a text's states stay the same beside other texts, padded on the right.

    Raises LMSteerError for a model whose states are not finite, see later tokens, or depend on the texts beside.
    """
    name, (long, short) = type(loaded.model).__name__, probe_texts(loaded)
    try:
        plain, start, other = (plain_states(loaded, row) for row in (long, long[: len(short)], short))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise LMSteerError(f"{name} cannot be run on token ids alone ({reason}): give a causal LM") from None
    if not (plain.isfinite().all() and other.isfinite().all()):
        raise LMSteerError(
            f"the hidden states of {loaded.name} are not finite: its weights are damaged, or too large for "
            f"{str(plain.dtype).removeprefix('torch.')}"
        )
    if not unchanged(start, plain[: len(short)]):
        raise LMSteerError(f"{name} lets a token see those after it: it is not a causal LM, or not configured as one")

    def beside(rows: list[list[int]], length: int) -> bool:
        states = padded_states(loaded, rows, length)
        return unchanged(states[0, : len(long)], plain) and unchanged(states[1, : len(short)], other)

    if holds(lambda: beside([long, short], round_up(len(long) + 1, STEP))):
        return True
    if holds(lambda: beside([long, short + long[len(short) :]], len(long))):
        return False
    raise LMSteerError(f"{name} computes a text differently when another one stands beside it: it cannot be batched")


def probe_texts(loaded: LoadedModel) -> list[list[int]]:
    """Return the ids of texts of PROBED lengths, drawn from the tokens that are not special."""
    special = loaded.tokenizer.all_special_ids
    size = min(len(loaded.tokenizer), loaded.model.get_input_embeddings().weight.shape[0])
    ordinary = [index for index in range(size) if index not in special]
    draw = torch.Generator().manual_seed(0)
    return [[ordinary[i] for i in torch.randint(len(ordinary), (count,), generator=draw)] for count in PROBED]


def plain_states(loaded: LoadedModel, row: list[int]) -> Tensor:
    """Return the head inputs (tokens, hidden) of one text by itself, without padding or cache."""
    ids = torch.tensor([row], device=loaded.device)
    return head_inputs(loaded.model, ids, torch.ones_like(ids))[0]


def unchanged(states: Tensor, plain: Tensor) -> bool:
    """Whether states (tokens, hidden) differ by rounding alone; half precision may flip a router here and there."""
    errors = (states.float() - plain.float()).norm(dim=-1) / plain.float().norm(dim=-1).clamp_min(1e-12)
    if plain.dtype in (torch.bfloat16, torch.float16):
        return bool(errors.median() < HALF_TOLERANCE)
    return bool(errors.max() < TOLERANCE)


def holds(check: Callable[[], bool]) -> bool:
    """Whether a way of running a model works, and its check holds."""
    try:
        return check()
    except torch.OutOfMemoryError:
        raise
    # Whatever a model stumbles over, it cannot be run this way.
    except Exception:
        return False


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


def _checksum(state: bytes) -> bytes:
    """Return what stands behind a state: sqlite does not notice when what it keeps is changed."""
    return zlib.crc32(state).to_bytes(CHECKSUM)


def round_up(length: int, step: int = 8) -> int:
    """Return the smallest positive multiple of `step` that holds `length`."""
    return max(1, -(-length // step)) * step


def _opened(path: Path) -> sqlite3.Connection:
    database = open_database(path)
    try:
        database.execute("PRAGMA synchronous=OFF")
        database.execute("CREATE TABLE IF NOT EXISTS states (key BLOB PRIMARY KEY, state BLOB NOT NULL)")
    except sqlite3.Error:
        database.close()
        raise
    return database


class HiddenMemo:
    """Head inputs by text for one model, in an sqlite file of at most MEMO_BYTES of states."""

    def __init__(self, path: str | Path, loaded: LoadedModel, max_length: int) -> None:
        self.loaded, self.max_length = loaded, max_length
        self.weight = output_head(loaded.model).weight
        self.code = module_digest(__name__)
        self.path, self.database = Path(path), None
        self.size = self._size()

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenise texts as the training sees them, cut to `max_length` and to the model's context."""
        return self.loaded.token_ids(texts, min(self.max_length, self.loaded.context or self.max_length))

    def ensure(self, texts: Sequence[str], what: str) -> None:
        """Compute and keep the states of those texts that the memo lacks."""
        texts = list(dict.fromkeys(texts))
        missing = [text for text in texts if not self._has(self._key(text))]
        for _ in self._computed(missing, what, len(texts) - len(missing)):
            pass

    def states(self, texts: Sequence[str], what: str) -> dict[str, Tensor]:
        """Return the head inputs (tokens, hidden) of texts, in the host's memory; what the memo lacks is computed."""
        texts = list(dict.fromkeys(texts))
        found = {text: state for text in texts if (state := self._read(text)) is not None}
        missing = [text for text in texts if text not in found]
        return found | dict(self._computed(missing, what, len(found)))

    def state(self, text: str) -> Tensor:
        """Return the head inputs (tokens, hidden) of one text, on the model's device."""
        return self.states([text], "again")[text].to(self.weight.device)

    def _computed(self, missing: Sequence[str], what: str, found: int) -> Iterator[tuple[str, Tensor]]:
        """Compute the states of texts, keep them, and yield each with its text."""
        if not missing:
            return
        ids = self.token_ids(missing)
        device = self.weight.device.type
        with Progress(f"{what}: hidden states", len(missing) + found, "text") as progress:
            progress.skip(found)
            step = STEP if pads_right(self.loaded) else 1
            # Padding must not push a text that fits out of the context.
            keys = [min(round_up(len(row), step), self.loaded.context or sys.maxsize) for row in ids]
            for length, full, indices in blocks_of(keys, lambda length: max(1, TOKENS[device] // length)):
                rows = [ids[index] for index in indices]
                # Kernels choose their order of summation by shape: on a CPU it depends on the length alone.
                filled = rows + [rows[-1]] * (full - len(rows)) if device == "cpu" else rows
                states = padded_states(self.loaded, filled, length).to(self.weight.dtype).cpu()
                block = [
                    (missing[index], state[: len(ids[index])])
                    for index, state in zip(indices, states[: len(indices)], strict=True)
                ]
                self._keep(block)
                yield from block
                progress.advance(len(indices))

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(f"{self.code}\0{self.loaded.fingerprint}\0{self.max_length}\0{text}".encode()).digest()

    def _do(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do something with the memo; where it turns out damaged, with an empty one: all of it can be made again."""
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

    def _has(self, key: bytes) -> bool:
        return self._do(lambda memo: memo.execute("SELECT 1 FROM states WHERE key = ?", (key,)).fetchone()) is not None

    def _read(self, text: str) -> Tensor | None:
        key = self._key(text)
        row = self._do(
            lambda memo: memo.execute("SELECT CAST(state AS BLOB) FROM states WHERE key = ?", (key,)).fetchone()
        )
        if row is None:
            return None
        state = bytearray(row[0][:-CHECKSUM])
        if _checksum(state) != row[0][-CHECKSUM:]:
            say(f"{self.path} is damaged (a state that was changed): it is computed again")
            return None
        return torch.frombuffer(state, dtype=self.weight.dtype).view(-1, self.weight.shape[1])

    def _keep(self, block: list[tuple[str, Tensor]]) -> None:
        """Write states, after dropping the oldest where the memo would outgrow its bound."""
        states = ((self._key(text), _bytes(state)) for text, state in block)
        rows = [(key, state + _checksum(state)) for key, state in states]
        size = sum(len(state) for _, state in rows)
        if size > MEMO_BYTES:
            return
        if self.size + size > MEMO_BYTES:
            older = "DELETE FROM states WHERE rowid <= (SELECT max(rowid) - count(*) / 2 FROM states)"
            self._do(lambda memo: memo.execute(older))
            self.size = self._size()

        def write(memo: sqlite3.Connection) -> None:
            with transaction(memo):
                memo.executemany("INSERT OR REPLACE INTO states VALUES (?, ?)", rows)

        self._do(write)
        self.size += size

    def _size(self) -> int:
        return self._do(lambda memo: memo.execute("SELECT coalesce(sum(length(state)), 0) FROM states").fetchone())[0]


class DrawnStates:
    """Hidden states of the texts that the coming steps draw, as many as HELD_BYTES hold: a window of the memo."""

    def __init__(self, memo: HiddenMemo, texts: Sequence[str], draw: Tensor, what: str) -> None:
        """draw (steps, batch) are the indices of each step's texts."""
        self.memo, self.texts, self.draw, self.what = memo, texts, draw, what
        self.held: dict[str, tuple[Tensor, Tensor]] = {}

    def packed(self, step: int) -> Packed:
        """Return what a step learns from, one text after another without padding."""
        batch = [self.texts[index] for index in self.draw[step].tolist()]
        if any(text not in self.held for text in batch):
            self._take_in(step)
        hidden, targets = zip(*(self.held[text] for text in batch), strict=True)
        rows = torch.arange(len(batch)).repeat_interleave(torch.tensor([len(part) for part in targets]))
        device = self.memo.loaded.device
        return torch.cat(hidden).to(device), torch.cat(targets).to(device), rows.to(device)

    def _take_in(self, step: int) -> None:
        """Hold the states from `step` on, and no longer those before."""
        self.held.clear()
        ids: dict[str, list[int]] = {}
        room = HELD_BYTES // (self.memo.weight.shape[1] * self.memo.weight.element_size())
        for number in range(step, len(self.draw)):
            if ids and room <= 0:
                break
            new = {self.texts[index] for index in self.draw[number].tolist()}.difference(ids)
            ids |= dict(zip(sorted(new), self.memo.token_ids(sorted(new)), strict=True))
            room -= sum(len(ids[text]) for text in new)
        states = self.memo.states(list(ids), self.what)
        self.held = {text: (states[text][:-1], torch.tensor(row[1:])) for text, row in ids.items()}
