"""How long to wait for what, in seconds."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from jobs.models import Batch, Connection

LONGEST = 900.0  # nothing is ever put off for longer, so a moment further away comes of a clock that was stepped back


@dataclass(frozen=True, slots=True)
class Windows:
    """`absence`: how long after the mark a batch may still turn up; it holds the lease, the longest life of a request at the
    provider, and the lag of its list (RELIABILITY 2.5: W ≥ L + H + V). `apart`: between two looks that find nothing."""

    absence: float
    apart: float
    skew: float = 600.0


def windows_of(connection: Connection) -> Windows:
    if connection.is_sandbox:
        return Windows(absence=settings.SANDBOX_ABSENCE_SECONDS, apart=settings.SANDBOX_ABSENCE_SECONDS / 4, skew=60)
    return Windows(absence=settings.ABSENCE_SECONDS, apart=settings.ABSENCE_APART_SECONDS)


GRACE = timedelta(minutes=10)  # that a provider may be late by its own limit


def time_limit(batch: Batch) -> datetime:
    """When the provider ends the batch by its own rule; where it named no time, a day after it took the batch."""
    return batch.expires_at or (batch.submitted_at or batch.created_at) + timedelta(hours=24)


def is_overdue(batch: Batch, now: datetime) -> bool:
    return now > time_limit(batch) + GRACE


def soon(seconds: float) -> datetime:
    return timezone.now() + timedelta(seconds=seconds)


def back_off(n_errors: int, retry_after: float | None = None, cap: float = 900.0) -> datetime:
    """When to try again after `n_errors` failures in a row: doubling from 2 s up to `cap`, with jitter; later if it was asked for."""
    wait = min(2.0 * 2 ** min(n_errors, 12), cap) * (0.5 + random.random() / 2)
    return soon(max(wait, min(retry_after or 0.0, LONGEST)))


def poll_interval(batch: Batch, is_sandbox: bool) -> float:
    """Seconds until the provider is asked again: short at first, a minute once it takes long."""
    age = (timezone.now() - batch.submitted_at).total_seconds() if batch.submitted_at else 0.0
    if is_sandbox:
        return 0.5 if age < 60 else 2.0
    return 5.0 if age < 120 else 20.0 if age < 1800 else 60.0
