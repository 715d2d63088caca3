"""Drive one job in the foreground: the same steps that the pump wakes, one after the other, without a queue."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.db import InterfaceError, InternalError, OperationalError
from django.utils import timezone

from jobs.engine.advance import advance
from jobs.engine.lease import leave_if_dead
from jobs.engine.pump import due
from jobs.models import Connection, Job
from jobs.words import JobState

AWAY_SECONDS = 300.0  # how long the ledger may be away before its error is raised


def drive(job: Job, *, poll_seconds: float = 1.0, seconds: float | None = None, tick: Callable[[Job], None] = lambda job: None) -> Job:
    """Work on the job until it has ended (or `seconds` are over), then give it back fresh. `tick` sees it after every round of steps."""
    ends = None if seconds is None else time.monotonic() + seconds
    answered_at = time.monotonic()
    while True:
        try:
            moved = step(job)
            job.refresh_from_db()
            tick(job)
            answered_at = time.monotonic()
        except (OperationalError, InterfaceError, InternalError):
            if time.monotonic() - answered_at > AWAY_SECONDS:
                raise
            leave_if_dead()
            time.sleep(poll_seconds)
            continue
        if JobState(job.state).terminal or (ends is not None and time.monotonic() > ends):
            return job
        if not moved:
            time.sleep(poll_seconds)


def step(job: Job) -> int:
    """Do all that is due for the job now; how many steps that was."""
    moved = 0
    for kind, each in list(due(timezone.now(), job)):
        try:
            advance(kind, str(each.pk))
        except (OperationalError, InterfaceError, InternalError):  # the database is busy or away for a moment
            leave_if_dead()
            continue
        moved += kind != "connection"
    return moved


def connection_problem(job: Job) -> str:
    """What is wrong with the job's connection now, in words; "" when well."""
    return Connection.objects.filter(jobs=job).values_list("problem", flat=True).first() or ""
