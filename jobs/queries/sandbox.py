"""Whose money is real: that of the sandbox counts only where there is nothing else, and is then called what it is.

A workspace whose connections are all sandboxes learns with their prices. As soon as it has a real connection (even one that was archived),
what the sandbox "costs" is in no total of the workspace and is held against no cap of its month. A job's own cap holds on the sandbox too.
"""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q

from jobs.models import Batch, Connection, Job, Workspace


def counted_jobs() -> Q:
    """The jobs whose money counts, for a query over jobs. A job of the sandbox that was retried on a real connection does."""
    real_batches = Batch.objects.filter(job=OuterRef("pk"), connection__is_sandbox=False)
    real_ones = Connection.objects.filter(workspace=OuterRef("workspace"), is_sandbox=False)
    return Q(connection=None) | Q(connection__is_sandbox=False) | Q(Exists(real_batches)) | Q(~Exists(real_ones))


def counted_batches() -> Q:
    """The batches whose money counts, for a query over batches."""
    real_ones = Connection.objects.filter(workspace=OuterRef("job__workspace"), is_sandbox=False)
    return Q(connection__is_sandbox=False) | Q(~Exists(real_ones))


def kinds_of(workspace: Workspace) -> tuple[bool, bool]:
    """Whether the workspace has a sandbox, and whether it has a real connection, archived ones included. One query."""
    kinds = set(Connection.objects.filter(workspace=workspace).order_by().values_list("is_sandbox", flat=True).distinct())
    return True in kinds, False in kinds


def only_sandbox(workspace: Workspace) -> bool:
    """Whether no figure of the workspace is real money, and each must say so."""
    return kinds_of(workspace) == (True, False)


def counts(connection: Connection) -> bool:
    """Whether what is spent on a connection counts for its workspace."""
    return not connection.is_sandbox or not kinds_of(connection.workspace)[1]


def is_sandbox(job: Job) -> bool:
    """Whether nothing of a job was really paid: all of its batches went to the sandbox."""
    if job.connection is None or not job.connection.is_sandbox:
        return False
    return not Batch.objects.filter(job=job, connection__is_sandbox=False).exists()
