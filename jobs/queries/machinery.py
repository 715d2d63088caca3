"""Whether the workers are there: what a page says when nothing can move."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from jobs import formats
from jobs.models import Heartbeat

CLOCK = "clock"  # the heartbeat of a host whose clock is wrong


def standstill(now: datetime | None = None) -> str:
    """Why nothing moves, as sentences; "" while workers are heard of, and where none ever was. One query."""
    now = now or timezone.now()
    seen = {beat.name: beat for beat in Heartbeat.objects.filter(name__in=["worker", CLOCK])}
    late = now - timedelta(seconds=settings.BEAT_LATE_SECONDS)
    if "worker" not in seen or seen["worker"].at >= late:
        return ""
    if CLOCK in seen and seen[CLOCK].at >= late:
        return clock_words(seen[CLOCK].data["seconds"])
    silent = formats.duration((now - seen["worker"].at).total_seconds())
    return f"No worker has been heard of for {silent}. Whoever runs this server starts them again with manage.py worker."


def clock_words(seconds: float) -> str:
    """A host whose clock is ahead of the database's by so many seconds, or behind where they are negative."""
    by = f"{formats.duration(abs(seconds))} {'ahead of' if seconds > 0 else 'behind'}"
    return f"The clock of a worker's host is {by} the database's clock. That host does nothing until its clock is set right."
