"""DESIGN's invariants of one job, asked of the ledger, the files and the provider's own log."""

from __future__ import annotations

from collections import Counter
from typing import Any

from jobs.engine.audit import audit_job
from jobs.models import Batch, Job
from jobs.words import BatchState, JobState


def check(job: Job, sandbox: Any, excused: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Raise where an invariant is broken. Rows of `excused` custom ids may be paid twice: a person took the risk."""
    job = Job.objects.get(pk=job.pk)
    assert sum(job.counts.values()) == job.n_rows
    assert min(job.counts.values()) >= 0, job.counts
    assert audit_job(job) == []
    open_ones = Batch.objects.filter(job=job).exclude(state__in=[BatchState.SETTLED, BatchState.REJECTED])
    assert not JobState(job.state).terminal or not open_ones.exists()
    made = Counter(call["batch"] for call in sandbox.control("calls", verb="batches.create"))
    assert set(made.values()) <= {1}
    paid = Counter(row["custom_id"] or row["body"] for row in sandbox.control("executed") if row["paid"])  # an ordinary call has no id
    twice = {custom_id for custom_id, n in paid.items() if n > 1} - excused
    assert not twice, f"paid twice: {sorted(twice)}"


def check_end(job: Job, sandbox: Any) -> None:
    """And once the job has ended: what was paid is accounted for."""
    check(job, sandbox)
    known = set(Batch.objects.filter(job=job).exclude(provider_batch_id="").values_list("provider_batch_id", flat=True))
    past = {token for batch in Batch.objects.filter(job=job) for token in batch.past_tokens}
    there = {batch["id"] for batch in sandbox.control("")["batches"]}
    assert there <= known | past, f"not in the ledger: {there - known - past}"
    held = Batch.objects.filter(job=job, lease_until__isnull=False)
    assert not held.exists()
