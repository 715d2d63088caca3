"""When the next sweep is due; whoever asks first does it."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from jobs.models import Heartbeat

EVERY = timedelta(hours=1)


def is_due() -> bool:
    """Whether a sweep is due now. True for one of many pumps, by compare-and-swap."""
    now = timezone.now()
    _, is_new = Heartbeat.objects.get_or_create(name="sweep", defaults={"at": now})
    return is_new or Heartbeat.objects.filter(Q(at__lte=now - EVERY) | Q(at__gt=now + EVERY), name="sweep").update(at=now) == 1
