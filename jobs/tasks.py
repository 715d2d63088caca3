"""Entry points of the queue: a line or two each, ids in, nothing out."""

from __future__ import annotations

from django.utils import timezone

from jobs.models import Heartbeat


def beat() -> None:
    """Show, from inside a worker, that tasks are run."""
    Heartbeat.objects.update_or_create(name="worker", defaults={"at": timezone.now()})
