"""Whether this host's clock goes with the ledger's. On PostgreSQL several hosts judge each other's leases and marks by their own clocks, so
one that goes wrong would take over what others still work on: it does nothing until it is right again."""

from __future__ import annotations

from django.db import connection as db
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from jobs.engine.lease import default_seconds
from jobs.models import Batch, Heartbeat
from jobs.queries.machinery import CLOCK, clock_words


def off() -> float:
    """Seconds by which this host's clock is ahead of the ledger's, negative where it is behind; 0.0 as long as that is less than a quarter
    of a lease (renewed when two thirds are left), and with SQLite, whose clock is the host's. One query."""
    if db.vendor != "postgresql":
        return 0.0
    before = timezone.now()
    with db.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        theirs = cursor.fetchone()[0]
    after = timezone.now()
    nearest = min(max(theirs, before), after)  # how long the question took is no difference
    ahead = (nearest - theirs).total_seconds()
    return ahead if abs(ahead) > default_seconds() / 4 else 0.0


def say(seconds: float) -> None:
    """Note in the ledger, by its own clock, that a host is off."""
    Heartbeat.objects.update_or_create(name=CLOCK, defaults={"at": Now(), "data": {"seconds": round(seconds, 1)}})


def hand_on(model: type[models.Model], pk: str, seconds: float) -> None:
    """Leave a wake-up to another host, now by the ledger's clock, with the reason on a batch that nobody works on."""
    say(seconds)
    each = model._default_manager.filter(pk=pk)
    each.update(next_look_at=Now())
    if model is Batch:
        each.filter(lease_until=None).update(wait_reason=clock_words(seconds))
