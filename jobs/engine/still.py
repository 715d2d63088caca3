"""Locks of what people decide by. All who hold several of them take them in one order, for of two who go crosswise PostgreSQL throws one
out: the workspace, the connection, the batches by their keys, the job.

They are locks against changes, not against rows that only refer to what is locked (an event, a round, a line of the audit log).
"""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from jobs.errors import BadInput
from jobs.models import Batch, Connection, Job
from jobs.words import CLOSED


def hold_still(job: Job) -> None:
    """Wait for what is being written about a job at this moment (a step of a batch, a try, a launch), and let nothing begin; inside the
    transaction that decides by it. Batches before the job, as workers go; all of them, so where some were cut before the job was ours
    everything is let go, and taken once more."""
    while True:
        before = transaction.savepoint()
        held = _hold_batches(job)
        Job.objects.select_for_update(no_key=True).filter(pk=job.pk).first()
        if held.issuperset(_open_batches(job).values_list("pk", flat=True)):
            transaction.savepoint_commit(before)
            return
        transaction.savepoint_rollback(before)


def _open_batches(job: Job) -> QuerySet[Batch]:
    return Batch.objects.filter(job=job).exclude(state__in=CLOSED).order_by("pk")


def _hold_batches(job: Job) -> set[UUID]:
    return set(_open_batches(job).select_for_update(no_key=True).values_list("pk", flat=True))


def hold_as_read(connection: Connection) -> None:
    """Let nobody move or remove a connection until the transaction ends, which makes a round on it. Raises BadInput where somebody has
    done so since it was read: request lines and prices are those of what was read."""
    now = Connection.objects.select_for_update(no_key=True).get(pk=connection.pk)
    if now.archived_at is not None:
        raise BadInput(f"The connection “{connection.name}” was removed.", "Choose another one.")
    if (now.kind, now.base_url) != (connection.kind, connection.base_url):
        raise BadInput(f"The address of the connection “{now.name}” was changed meanwhile.", "Look at it again.")
