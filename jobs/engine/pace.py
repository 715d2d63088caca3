"""How fast ordinary calls go: at one time, requests a minute, tokens a minute, and slower for a while when the provider says so.

The limits are those of a connection. Runs that work on it at the same moment, in whatever process, take an equal share each.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from django.db import DatabaseError
from django.utils import timezone

from jobs.models import Batch
from jobs.providers.base import Limits
from jobs.providers.room import Room
from jobs.words import BatchState, Lane

MINUTE = 60.0
CLOCK = "clock"  # a file beside the answers: milliseconds that the calls took, a line for each second or so


@dataclass(slots=True)
class Call:
    """One call: when it began, and its tokens, guessed until its answer tells."""

    at: float
    tokens: float


@dataclass(slots=True)
class Pace:
    """`now` calls may run at once: halved when the provider is busy, one more after each round of good answers. `guess` is the tokens of
    a call, input and output: at first what it may take at most, then the mean of the answers. Used by all threads of a run."""

    limits: Limits
    guess: float = 0.0
    share: int = 1  # runs on the connection, this one among them
    clock: Callable[[], float] = time.monotonic
    now: float = 1.0
    good: int = 0
    pause_until: float = 0.0
    calls: deque[Call] = field(default_factory=deque)  # of the last minute
    seen: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.now = float(self.limits.concurrency)

    def may_start(self, running: int) -> bool:
        """Whether one more call may begin beside those that are running."""
        moment = self.clock()
        with self.lock:
            while self.calls and self.calls[0].at <= moment - MINUTE:
                self.calls.popleft()
            if moment < self.pause_until or running >= max(1, int(min(self.now, self.limits.concurrency / self.share))):
                return False
            requests, tokens = self.limits.requests_per_minute, self.limits.tokens_per_minute
            if requests and len(self.calls) >= max(1, requests // self.share):
                return False
            # One call that is larger than the limit still has to go, alone.
            return not tokens or not self.calls or sum(call.tokens for call in self.calls) + self.guess <= tokens / self.share

    def began(self) -> Call:
        """A call leaves now."""
        with self.lock:
            call = Call(self.clock(), self.guess)
            self.calls.append(call)
            return call

    def busy(self, retry_after: float | None) -> None:
        """The provider refused a call for now."""
        with self.lock:
            self.now, self.good = max(1.0, self.now / 2), 0
            self.pause_until = max(self.pause_until, self.clock() + (retry_after or 1.0))

    def well(self, call: Call, tokens: int, room: Room | None = None) -> None:
        """A call was answered and took so many tokens; `room` is what the provider said is left."""
        with self.lock:
            call.tokens = tokens
            self.seen += 1
            self.guess = tokens if self.seen == 1 else self.guess + (tokens - self.guess) / min(self.seen, 50)
            self.good += 1
            if self.good >= self.now:
                self.now, self.good = min(float(self.limits.concurrency), self.now + 1), 0
            if room is not None:
                self._heed(room)

    def _heed(self, room: Room) -> None:
        """Stop before the provider has to refuse."""
        if room.requests is not None and room.requests < 1:
            self._pause(room.requests_reset)
        if room.tokens is not None and room.tokens < self.guess:
            self._pause(room.tokens_reset)

    def _pause(self, seconds: float | None) -> None:
        self.pause_until = max(self.pause_until, self.clock() + min(MINUTE, 1.0 if seconds is None else seconds))


def runs_on(batch: Batch) -> int:
    """How many batches of ordinary calls are worked on at this moment over the batch's connection, this one among them."""
    with suppress(DatabaseError):
        running = Batch.objects.filter(connection=batch.connection_id, state=BatchState.READY, n_submits__gt=0)
        others = running.filter(lease_until__gt=timezone.now()).exclude(round__lane=Lane.BATCH).exclude(pk=batch.pk)
        return 1 + others.count()
    return 1


def ran(folder: Path, seconds: float) -> None:
    """Add time to the clock of a batch. Single appends, so that a crash loses the last second at most."""
    with (folder / CLOCK).open("a") as file:
        file.write(f"{max(0, round(seconds * 1000))}\n")


def milliseconds(folder: Path) -> int:
    """What the clock of a batch says: 0 for one that made no ordinary calls."""
    path = folder / CLOCK
    return sum(int(line) for line in path.read_text().split("\n") if line.isdigit()) if path.exists() else 0
