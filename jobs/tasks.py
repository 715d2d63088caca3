"""What django-q runs: wake-ups of a line or two. They take one string and return nothing (results are pickled)."""

from __future__ import annotations

import structlog
from django.utils import timezone

from jobs.engine import clocks
from jobs.engine.advance import advance as advance_one
from jobs.models import Heartbeat

log = structlog.get_logger(__name__)


def advance(what: str) -> None:
    """`what` is `kind:id`."""
    kind, _, pk = what.partition(":")
    advance_one(kind, pk)


def beat() -> None:
    """Show that a worker of the cluster still takes tasks; one whose host has a wrong clock takes none."""
    if seconds := clocks.off():
        clocks.say(seconds)
        log.critical("the clock of this host is wrong", seconds_ahead_of_the_database=round(seconds, 1))
    else:
        Heartbeat.objects.update_or_create(name="worker", defaults={"at": timezone.now()})
