"""Advance: look at the ledger and do the one short step that is due. It may run twice, late or never without harm."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.utils import timezone

from jobs.engine import collect, direct, follow, plan, reconcile, settle, submit
from jobs.engine.ingest import read_upload
from jobs.engine.lease import LostLease, claim
from jobs.engine.pump import LIVE_JOBS, MOVING_BATCHES
from jobs.engine.windows import back_off
from jobs.models import Batch, Connection, Job
from jobs.words import BatchState, JobState, Lane, RoundState

log = structlog.get_logger(__name__)


def advance(kind: str, pk: str) -> None:
    """One step of a job, batch, connection or upload. Raises nothing that a later look would not repeat."""
    if kind == "job":
        advance_job(pk)
    elif kind == "batch":
        advance_batch(pk)
    elif kind == "connection":
        advance_connection(pk)
    elif kind == "upload":
        read_upload(pk)


def advance_job(pk: str) -> None:
    lease = claim(Job, pk, state__in=[*LIVE_JOBS, JobState.DRAFT])
    if lease is None:
        return
    job = Job.objects.select_related("dataset_version", "connection").get(pk=pk)
    next_look_at: datetime | None = timezone.now() + timedelta(seconds=20)
    try:
        with lease.kept():
            if plan.plan(job, lease) or settle.settle(job, lease):
                next_look_at = timezone.now()
            elif job.state == JobState.DRAFT and not job.rounds.exclude(state=RoundState.SETTLED).exists():
                next_look_at = None  # its tries are done
    except LostLease:
        return
    except Exception as error:
        _stumbled("job", pk, error)
        Job.objects.filter(pk=pk).update(needs=f"Something went wrong here and is tried again: {error}"[:500])
        next_look_at = timezone.now() + timedelta(seconds=10)
    lease.release(next_look_at)


def advance_batch(pk: str) -> None:
    lease = claim(Batch, pk, state__in=MOVING_BATCHES)
    if lease is None:
        return
    batch = _read(pk)
    try:
        before = None
        while batch.state in MOVING_BATCHES and batch.state != before:
            before = batch.state
            _step(batch, lease)
            if batch.state in (BatchState.READY, BatchState.UNKNOWN):
                break
    except LostLease:
        return
    except Exception as error:
        _stumbled("batch", pk, error)
        n_errors = batch.n_errors + 1
        Batch.objects.filter(pk=pk).update(
            n_errors=n_errors,
            problem=f"{type(error).__name__}: {error}"[:1000],
            wait_reason=f"something went wrong here and is tried again: {error}"[:500],
            next_look_at=back_off(n_errors, cap=60),
        )
    lease.release()


def _read(pk: str) -> Batch:
    return Batch.objects.select_related("job", "job__dataset_version", "round", "round__prompt_version", "connection").get(pk=pk)


def _step(batch: Batch, lease: object) -> None:
    from jobs.engine.lease import Lease

    assert isinstance(lease, Lease)
    if batch.round.lane != Lane.BATCH and batch.state == BatchState.READY:
        direct.run(batch, lease)
    elif batch.state == BatchState.READY:
        submit.submit(batch, lease)
    elif batch.state in (BatchState.SUBMITTING, BatchState.UNKNOWN):
        reconcile.reconcile(batch, lease)
    elif batch.state == BatchState.ENDED:
        collect.fetch(batch, lease)
    elif batch.state == BatchState.FETCHED:
        collect.collect(batch, lease)


def advance_connection(pk: str) -> None:
    connection = Connection.objects.get(pk=pk)
    follow.follow(connection)
    Connection.objects.filter(pk=pk).update(next_look_at=None)


def _stumbled(kind: str, pk: str, error: Exception) -> None:
    log.exception("advance failed", kind=kind, pk=str(pk), error=str(error))
