"""One worker at a time: claim by compare-and-swap on a token and a deadline.

The ledger's clock decides who may claim; the holder's own boot clock, which neither stepping the wall clock nor
suspending the machine fools, decides whether it may still act. Both are asked before the call that costs money.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import Error, models, transaction
from django.db import connection as db
from django.db.models import Q
from django.utils import timezone

FAR = 4  # lease lengths; none is made for longer than one


def default_seconds() -> float:
    """How long a lease lives without being renewed: a worker that dies is replaced after it."""
    return float(settings.LEASE_SECONDS)


class LostLease(Exception):
    """Somebody else holds the work now, or its state is no longer what it was: do nothing more."""


def boot_clock() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(slots=True)
class Lease:
    """The right to work on one row of the ledger until `ends` (boot clock, seconds)."""

    model: type[models.Model]
    pk: Any
    token: int
    ends: float

    def holds(self, margin: float = 0.0) -> bool:
        """Whether at least `margin` seconds are left."""
        return boot_clock() + margin < self.ends

    def write(self, where: dict[str, Any] | None = None, **fields: Any) -> None:
        """Change the row if it is still ours, and still as `where` says; else LostLease and nothing is written."""
        rows = self.model._default_manager.filter(pk=self.pk, lease_token=self.token, lease_until__gt=timezone.now(), **(where or {}))
        # The token is written again so that there is always a change to count, and the row stays locked until the transaction ends.
        if not self.holds() or rows.update(lease_token=self.token, **fields) != 1:
            raise LostLease(f"{self.model.__name__} {self.pk}")

    def renew(self, seconds: float | None = None) -> None:
        seconds = seconds or default_seconds()
        ends = boot_clock() + seconds
        self.write(lease_until=timezone.now() + timedelta(seconds=seconds))
        self.ends = ends

    def release(self, next_look_at: datetime | None = None) -> None:
        """Give the row back. `next_look_at` set meanwhile by somebody who wants it sooner is overwritten only by a value that is given."""
        fields: dict[str, Any] = {"lease_until": None}
        if next_look_at is not None:
            fields["next_look_at"] = next_look_at
        self.model._default_manager.filter(pk=self.pk, lease_token=self.token).update(**fields)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew in the background while long work (a download) runs. The work itself checks `holds()` where it matters."""
        stop, every = threading.Event(), default_seconds() / 3

        def beat() -> None:
            pause = every
            try:
                while not stop.wait(pause) and self.holds():
                    try:
                        self.renew()
                        pause = every
                    except Error:  # busy for a moment, or the connection is dead: a beat on a new one may still be in time
                        db.close()
                        pause = every / 5
            except LostLease:  # whatever our own clock says
                self.ends = 0.0
            finally:
                db.close()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def surely(write: Callable[[], object]) -> None:
    """Write to the ledger after trouble, which may have been that its connection died: then once more on a new one. Where the database
    itself is away nothing is written, and what is held runs out."""
    for _ in range(2):
        try:
            write()
            return
        except Error:
            if not leave_if_dead():  # busy
                return


def leave_if_dead() -> bool:
    """Whether this thread's connection to the ledger had died; then it is closed, and the next query opens a new one."""
    if db.in_atomic_block or (db.connection is not None and db.is_usable()):
        return False
    db.close()
    return True


def free_at(now: datetime) -> Q:
    """Leases that nobody holds. One that ends later than any lease may comes of a clock that was stepped back since: its holder,
    if it lives, notices at its next write, as with a lease that ran out."""
    far = now + timedelta(seconds=FAR * default_seconds())
    return Q(lease_until__isnull=True) | Q(lease_until__lte=now) | Q(lease_until__gt=far)


def claim(model: type[models.Model], pk: Any, seconds: float | None = None, **where: Any) -> Lease | None:
    """The lease on the row, or None where somebody holds it or it is not as `where` says."""
    seconds = seconds or default_seconds()
    ends = boot_clock() + seconds
    now = timezone.now()
    free = free_at(now)
    with transaction.atomic():
        token = model._default_manager.filter(free, pk=pk, **where).values_list("lease_token", flat=True).first()
        if token is None:
            return None
        taken = model._default_manager.filter(free, pk=pk, lease_token=token, **where).update(
            lease_token=token + 1, lease_until=now + timedelta(seconds=seconds)
        )
    return Lease(model, pk, token + 1, ends) if taken == 1 else None
