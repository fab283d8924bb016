"""Progress as plain lines (what, how far, how fast, time left), the same on a terminal and in a log.

with Progress("train sentiment", total=150, unit="step") as progress:
    progress.advance(1, "loss 3.21")
"""

import sys
import time
from types import TracebackType
from typing import Self

from lm_steer.util.errors import presentable

SECONDS_BETWEEN_LINES = 4.0


class Progress:
    """Counts up to `total`; prints a line at the start, every few seconds, and at the end."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = self.skipped = 0
        self.started = self.printed = time.monotonic()

    def __enter__(self) -> Self:
        say(f"{self.what}: 0/{self.total} {self.unit}s")
        return self

    def skip(self, count: int) -> None:
        """Count work done by an earlier run, which does not count towards the rate."""
        self.skipped += count
        self.done += count

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count work done by this run."""
        self.done += count
        now = time.monotonic()
        if now - self.printed >= SECONDS_BETWEEN_LINES:
            rate = (self.done - self.skipped) / (now - self.started)
            left = (self.total - self.done) / rate
            say(
                f"{self.what}: {self.done}/{self.total} {self.unit}s, {rate:.3g} per second, {left:.0f} s left"
                + (f", {note}" if note else "")
            )
            self.printed = now

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        if kind is None:
            reused = f" ({self.skipped} from an earlier run)" if self.skipped else ""
            seconds = time.monotonic() - self.started
            say(f"{self.what}: {self.done} {self.unit}s done in {seconds:.1f} s{reused}")


def say(line: str) -> None:
    """Print a line on standard error; standard output is for results."""
    print(presentable(line), file=sys.stderr, flush=True)
