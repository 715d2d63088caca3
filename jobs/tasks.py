"""What django-q runs: wake-ups of a line or two. They take one string and return nothing (results are pickled)."""

from __future__ import annotations

from django.utils import timezone

from jobs.engine.advance import advance as advance_one
from jobs.models import Heartbeat


def advance(what: str) -> None:
    """`what` is `kind:id`."""
    kind, _, pk = what.partition(":")
    advance_one(kind, pk)


def beat() -> None:
    """Show that a worker of the cluster still takes tasks."""
    Heartbeat.objects.update_or_create(name="worker", defaults={"at": timezone.now()})
