"""The shelf life of results: until when the provider keeps them, and a person's attention while they cannot be fetched before that."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from jobs.models import Batch, Job

NEEDS = "Results wait at the provider"
SOON = timedelta(days=7)  # before the end of the shelf life
LONG = timedelta(hours=48)  # after the end of the batch
AT_LEAST = timedelta(days=1)


def is_over(batch: Batch, now: datetime | None = None) -> bool:
    """Whether the provider has thrown the results away by its own rule. Never on the first day, whatever its clock says: what counts as
    gone is sent, and paid, again when a person asks for it."""
    now = now or timezone.now()
    is_young = batch.submitted_at is None or now < batch.submitted_at + AT_LEAST
    return batch.results_expire_at is not None and now > batch.results_expire_at and not is_young


def warn(batch: Batch, problem: str) -> None:
    """Ask for a person where results that are paid could be lost: they wait for two days already, or will be kept for a week at most."""
    now, until = timezone.now(), batch.results_expire_at
    waits = batch.ended_at is not None and now > batch.ended_at + LONG
    if waits or (until is not None and now > until - SOON):
        kept = f" It keeps them until {until:%d %B %Y}." if until is not None else ""
        text = f"{NEEDS}: those of batch {batch.number} cannot be fetched.{kept} ({problem})"
        Job.objects.filter(pk=batch.job_id).update(needs=text[:500])


def fetched(batch: Batch) -> None:
    """They are here, or certainly gone: nobody is needed for that any more."""
    Job.objects.filter(pk=batch.job_id, needs__startswith=NEEDS).update(needs="")
