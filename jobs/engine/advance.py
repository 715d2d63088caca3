"""Advance: look at the ledger and do the one short step that is due. It may run twice, late or never without harm."""

from __future__ import annotations

from typing import Any

import structlog
from django.db import models
from django.utils import timezone

from jobs.engine import clocks, collect, direct, follow, plan, reconcile, settle, submit, sweep, trouble
from jobs.engine.ingest import read_upload
from jobs.engine.lease import Lease, LostLease, claim, surely
from jobs.engine.pump import LIVE_JOBS, MOVING_BATCHES
from jobs.engine.windows import back_off, soon
from jobs.models import Batch, Connection, Job
from jobs.words import BatchState, JobState, Lane

log = structlog.get_logger(__name__)
_TIMED: dict[str, type[models.Model]] = {"job": Job, "batch": Batch, "connection": Connection}  # where a wrong clock does harm
JOB_LOOK_SECONDS = 20.0  # a job is nudged by what happens to it; this is for nudges that were lost


def advance(kind: str, pk: str) -> None:
    """One step of a job, batch, connection or upload. Raises nothing that a later look would not repeat."""
    if kind in _TIMED and (seconds := clocks.off()):
        clocks.hand_on(_TIMED[kind], pk, seconds)
    elif kind == "job":
        advance_job(pk)
    elif kind == "batch":
        advance_batch(pk)
    elif kind == "connection":
        advance_connection(pk)
    elif kind == "upload":
        read_upload(pk)
    elif kind == "sweep" and not clocks.off():
        sweep.sweep()


def advance_job(pk: str) -> None:
    lease = claim(Job, pk, state__in=[*LIVE_JOBS, JobState.DRAFT])
    if lease is None:
        _hurry(Job, pk)
        return
    moved = False
    try:
        # Before the work, not after it: who wakes the job meanwhile must not be overwritten.
        lease.write(next_look_at=soon(JOB_LOOK_SECONDS))
        job = Job.objects.select_related("dataset_version", "connection").get(pk=pk)
        with lease.kept():
            moved = plan.plan(job, lease) or settle.settle(job, lease)
        Job.objects.filter(pk=pk, needs__startswith=trouble.NEEDS).update(needs="")
    except LostLease:
        pass
    except Exception as error:
        log.exception("advance failed", kind="job", pk=str(pk))
        _say(Job, pk, needs=f"{trouble.NEEDS}: {trouble.words_of(error)}"[:500], next_look_at=soon(10.0))
    finally:
        _release(lease, moved)


def advance_batch(pk: str) -> None:
    lease = claim(Batch, pk, state__in=MOVING_BATCHES)
    if lease is None:
        _hurry(Batch, pk)
        return
    n_errors = 1
    try:
        batch, before = _read(pk), None
        n_errors += batch.n_errors
        while batch.state in MOVING_BATCHES and batch.state != before:
            before = batch.state
            _step(batch, lease)
            if batch.state in (BatchState.READY, BatchState.UNKNOWN):
                break
    except LostLease:
        pass
    except Exception as error:
        log.exception("advance failed", kind="batch", pk=str(pk))
        words = trouble.words_of(error)
        told = {"problem": words[:1000], "wait_reason": words[:500]}
        _say(Batch, pk, n_errors=n_errors, next_look_at=back_off(n_errors, cap=60), **told)
    finally:
        _release(lease)


def _read(pk: str) -> Batch:
    return Batch.objects.select_related("job", "job__dataset_version", "round", "round__prompt_version", "connection").get(pk=pk)


def _step(batch: Batch, lease: Lease) -> None:
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
    try:
        follow.follow(connection)
    except Exception as error:
        log.exception("advance failed", kind="connection", pk=str(pk))
        words = f"cannot ask the provider: {trouble.words_of(error)}"[:500]
        _say(Connection, pk, problem=words, next_look_at=soon(10.0))
        surely(lambda: Batch.objects.filter(connection=connection, state=BatchState.SUBMITTED).update(wait_reason=words))
        return
    Connection.objects.filter(pk=pk).update(next_look_at=None)


def _hurry(model: type[models.Model], pk: str) -> None:
    """Somebody works on it, perhaps on what they read before this wake-up: have it looked at once more right after."""
    held = model._default_manager.filter(pk=pk, lease_until__gt=timezone.now(), next_look_at__gt=soon(1.0))
    held.update(next_look_at=soon(1.0))


def _say(model: type[models.Model], pk: str, **fields: Any) -> None:
    """Put trouble on the row; where the database itself is the trouble, the log has it."""
    surely(lambda: model._default_manager.filter(pk=pk).update(**fields))


def _release(lease: Lease, now: bool = False) -> None:
    surely(lambda: lease.release(timezone.now() if now else None))
