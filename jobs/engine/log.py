"""Changes of state: compare-and-swap under the lease, with the event that says so, in one transaction."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import F

from jobs.engine.lease import Lease
from jobs.models import Batch, Event, Job
from jobs.words import BatchState


def note(job: Job, kind: str, text: str, batch: Batch | None = None, **data: Any) -> None:
    """Write to the job's timeline and let its pages know that something changed."""
    Event.objects.create(job=job, batch=batch, kind=kind, text=text[:1000], data=data)
    Job.objects.filter(pk=job.pk).update(version=F("version") + 1)


def move(batch: Batch, lease: Lease, to: BatchState, text: str = "", *, where: dict[str, Any] | None = None, **fields: Any) -> None:
    """Batch from the state that it was read in to `to`, with `fields`; LostLease if it is no longer there, or not as `where` says."""
    with transaction.atomic():
        lease.write({"state": batch.state, **(where or {})}, state=to, **fields)
        note(batch.job, f"batch:{to.value}", text or f"Batch {batch.number}: {to.look.label.lower()}", batch, before=batch.state)
    batch.state = to
    for name, value in fields.items():
        setattr(batch, name, value)
