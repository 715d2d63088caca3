"""The pump: find what is due in the ledger and wake it. A wake-up that is lost costs one tick, a doubled one nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.tasks import async_task

from jobs.engine import clocks, sweep_clock
from jobs.engine.lease import free_at
from jobs.engine.windows import LONGEST
from jobs.models import Batch, Connection, DatasetUpload, Heartbeat, Job
from jobs.words import BatchState, JobState

TASK = "jobs.tasks.advance"
AGAIN_SECONDS = 15.0
MOST_QUEUED = 60
LIMIT = 100
FAR_SECONDS = LONGEST + 60.0

LIVE_JOBS = [JobState.QUEUED, JobState.PREPARING, JobState.RUNNING, JobState.CANCELLING]
MOVING_BATCHES = [BatchState.READY, BatchState.SUBMITTING, BatchState.UNKNOWN, BatchState.ENDED, BatchState.FETCHED]
KINDS: dict[str, type[models.Model]] = {"job": Job, "batch": Batch, "connection": Connection, "upload": DatasetUpload}


def due(now: datetime | None = None, job: Job | None = None) -> Iterator[tuple[str, models.Model]]:
    """What may be worked on now, as (kind, object); all of one job with `job`."""
    now = now or timezone.now()
    at = Q(next_look_at__isnull=True) | Q(next_look_at__lte=now) | Q(next_look_at__gt=now + timedelta(seconds=FAR_SECONDS))
    free = free_at(now)
    batches = Batch.objects.filter(at & free, state__in=MOVING_BATCHES)
    submitted = Batch.objects.filter(at, state=BatchState.SUBMITTED)
    # A draft is due only while rows of it are being tried.
    live = Q(state__in=LIVE_JOBS) | Q(state=JobState.DRAFT, next_look_at__isnull=False)
    jobs = Job.objects.filter(at & free & live)
    if job is not None:
        batches, submitted, jobs = batches.filter(job=job), submitted.filter(job=job), jobs.filter(pk=job.pk)
    else:
        for upload in DatasetUpload.objects.filter(at, state__in=[DatasetUpload.RECEIVED, DatasetUpload.READING])[:LIMIT]:
            yield "upload", upload
    for connection in Connection.objects.filter(at).filter(Exists(submitted.filter(connection=OuterRef("pk"))))[:LIMIT]:
        yield "connection", connection
    # What ended is collected before more is sent: it frees headroom and people wait for it.
    yield from (("batch", each) for each in batches.exclude(state=BatchState.READY).order_by("next_look_at")[:LIMIT])
    yield from (("job", each) for each in jobs.order_by("next_look_at")[:LIMIT])
    yield from (("batch", each) for each in batches.filter(state=BatchState.READY).order_by("next_look_at", "number")[:LIMIT])


def run_once() -> int:
    """Wake what is due; the number of wake-ups. Called again and again by the pump process."""
    if seconds := clocks.off():
        clocks.say(seconds)
        return 0
    Heartbeat.objects.update_or_create(name="pump", defaults={"at": timezone.now()})
    if sweep_clock.is_due():
        async_task(TASK, "sweep:all")
    room = MOST_QUEUED - get_broker().queue_size()
    woken = 0
    for kind, each in due():
        if woken >= room:
            break
        woken += wake(kind, each)
    return woken


def wake(kind: str, each: models.Model) -> int:
    """Queue one look at the object, once: the swap on `next_look_at` lets one pump of many do it."""
    before = each.next_look_at  # type: ignore[attr-defined]
    again = timezone.now() + timedelta(seconds=AGAIN_SECONDS)
    if type(each)._default_manager.filter(pk=each.pk, next_look_at=before).update(next_look_at=again) != 1:
        return 0
    async_task(TASK, f"{kind}:{each.pk}")
    return 1


def nudge(kind: str, pk: object) -> None:
    """Wake an object now, from the web process or from another step. If the queue cannot take it, the pump will."""
    KINDS[kind]._default_manager.filter(pk=pk).update(next_look_at=timezone.now())
    if settings.NUDGE:
        try:
            async_task(TASK, f"{kind}:{pk}")
        except Exception:  # noqa: BLE001 - whatever ails the queue, the ledger already says that it is due
            return
