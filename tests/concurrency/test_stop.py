"""A person stops a job, or wants its rest in real time, in the very moment in which a worker moves one of its batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs.engine import budget, log
from jobs.engine.advance import advance_batch
from jobs.engine.cancel import cancel
from jobs.engine.drive import step
from jobs.engine.launch import new_token
from jobs.engine.lease import Lease
from jobs.engine.rescue import rescue
from jobs.models import Batch, Job
from jobs.words import JobState
from tests.concurrency.meanwhile import Meanwhile
from tests.jobs import make_job, settled

pytestmark = [pytest.mark.postgres, pytest.mark.serial, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize(("act", "state"), [("cancel", JobState.CANCELLED), ("rescue", JobState.COMPLETED)])
def test_who_asks_while_a_batch_is_moved_is_heard(
    people: Any, sandbox: Any, data_folder: Any, monkeypatch: Any, act: str, state: JobState
) -> None:
    """The worker holds the batch and wants the job; who held the job and wanted the batch was thrown out by the database."""
    job = make_job(people.home, people.owner, sandbox, settle=False)
    step(job)
    batch = Batch.objects.get(job=job)
    acts: dict[str, Callable[[], Any]] = {
        "cancel": lambda: cancel(Job.objects.get(pk=job.pk), people.owner),
        "rescue": lambda: rescue(Job.objects.get(pk=job.pk), people.owner, token=new_token()),
    }
    other, really = Meanwhile(acts[act]), log.note

    def note(job: Job, kind: str, *words: Any, **data: Any) -> None:
        if kind == "batch:submitting":
            other.begin()
        really(job, kind, *words, **data)

    monkeypatch.setattr(log, "note", note)
    advance_batch(str(batch.pk))
    monkeypatch.undo()
    assert [each for each in other.told() if isinstance(each, Exception)] == []
    assert Batch.objects.get(pk=batch.pk).submit_token != ""
    assert settled(job).state == state


def test_an_approval_while_a_worker_holds_the_batch_back_is_heard(people: Any, sandbox: Any, data_folder: Any, monkeypatch: Any) -> None:
    job = make_job(people.home, people.owner, sandbox, settle=False)
    Job.objects.filter(pk=job.pk).update(cap_usd="0.000001")
    step(job)
    batch = Batch.objects.get(job=job)
    advance_batch(str(batch.pk))
    other, really = Meanwhile(lambda: budget.approve(Job.objects.get(pk=job.pk), people.owner)), Lease.write

    def write(lease: Lease, *where: Any, **fields: Any) -> None:
        really(lease, *where, **fields)
        if str(fields.get("wait_reason", "")).startswith(budget.HELD):
            other.begin()

    monkeypatch.setattr(Lease, "write", write)
    advance_batch(str(batch.pk))
    monkeypatch.undo()
    assert other.told() == [None]
    assert settled(job).state == JobState.COMPLETED
