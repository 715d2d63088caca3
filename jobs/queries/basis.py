"""The rows that a live answer rests on: as long as they are the same, a page has nothing new to say."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet, Sum

from jobs.models import Batch, Connection, Job
from jobs.words import CLOSED

SHOWN = (
    "state",
    "wait_reason",
    "problem",
    "expires_at",
    "provider_status",
    "provider_counts",
    "submitted_at",
    "round__lane",
    "round__reason",
    "n_requests",
)
MOST_OPEN = 500


def open_batches(job_id: UUID) -> QuerySet[Any, Any]:
    """What the pages of a job tell of its open batches."""
    batches = Batch.objects.filter(job_id=job_id).exclude(state__in=CLOSED).order_by("round__number", "number")
    return batches.values(*SHOWN)[:MOST_OPEN]


def job_basis(job_id: UUID) -> list[QuerySet[Any, Any]]:
    """A job, the words on its connection, its open batches. Batches that close raise the job's version."""
    return [Job.objects.filter(pk=job_id).values_list("version", "state", "needs", "connection__problem"), open_batches(job_id)]


def workspace_basis(workspace_id: UUID) -> list[QuerySet[Any, Any]]:
    """All jobs of a workspace by number and versions, and the connections that are in trouble."""
    jobs = Job.objects.filter(workspace_id=workspace_id).order_by().values("workspace_id")
    connections = Connection.objects.filter(workspace_id=workspace_id, archived_at__isnull=True).exclude(problem="")
    return [
        jobs.annotate(n=Count("pk"), versions=Sum("version")).values_list("n", "versions"),
        connections.order_by("pk").values_list("pk", "problem"),
    ]
