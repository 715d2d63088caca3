"""A rescue cancels first, keeps what finished, and sends only the rest in real time."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.engine import rescue
from jobs.engine.drive import step
from jobs.engine.launch import Plan, launch
from jobs.engine.receipts import receipt_of
from jobs.models import Batch, Connection, Job
from jobs.words import BatchState, JobState, Lane, RoundReason
from tests.jobs import make_connection, make_dataset, make_prompt, settled
from tests.money.tools import executed_rows

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def job(people: Any, slow: Any) -> Job:
    home, owner = people.home, people.owner
    plan = Plan(
        home, make_dataset(home, owner, 40), make_prompt(home, owner), make_connection(home, owner, slow), "gpt-6-luna", max_attempts=1
    )
    Connection.objects.update(limits={"requests_per_batch": 20})
    plan.connection.refresh_from_db()
    job = launch(plan, owner)
    for _ in range(20):
        step(job)
        if Batch.objects.filter(job=job, state=BatchState.SUBMITTED).count() == 2:
            break
    return job


@pytest.fixture
def slow(tmp_path: Any) -> Any:
    from jobs.sandbox import Sandbox

    with Sandbox(tmp_path / "slow", seconds=3600) as running:
        yield running


def test_rescue_of_a_running_job_pays_each_row_once(job: Job, people: Any, slow: Any) -> None:
    first = job.batches.order_by("number").first()
    assert first is not None
    slow.control("end", batch=first.provider_batch_id, status="completed")
    rescue.rescue(job, people.owner, token="r")
    rescue.rescue(job, people.owner, token="r")
    for _ in range(50):
        step(job)
        Batch.objects.filter(job=job).update(next_look_at=None)
        if not Batch.objects.filter(job=job, state=BatchState.SUBMITTED, cancel_sent_at__isnull=True).exists():
            break
    slow.control("settle")
    job = settled(job)
    assert (job.state, job.n_succeeded) == (JobState.COMPLETED, 40)
    last = job.rounds.order_by("number").last()
    assert last is not None
    assert (last.reason, last.lane) == (RoundReason.RESCUE, Lane.DIRECT)
    assert last.n_rows == 20
    assert set(executed_rows(slow).values()) == {1}
    found = receipt_of(job)
    assert found.paid.amount == job.paid_usd
    assert [(total.reason, total.lane) for total in found.rounds] == [(RoundReason.FIRST, Lane.BATCH), (RoundReason.RESCUE, Lane.DIRECT)]


def test_rescue_of_expired_rows_keeps_what_was_answered(job: Job, people: Any, slow: Any) -> None:
    for batch in job.batches.all():
        slow.control("end", batch=batch.provider_batch_id, status="expired", share=0.5)
    job = settled(job)
    done, expired = job.n_succeeded, job.n_expired
    assert done + expired == 40
    assert expired > 0
    offered = rescue.offer(job)
    assert offered.rows == expired
    assert offered.more is not None
    assert offered.more > 0
    rescue.rescue(job, people.owner, token="r")
    job = settled(job)
    assert (job.state, job.n_succeeded) == (JobState.COMPLETED, 40)
    assert job.rounds.get(reason=RoundReason.RESCUE).n_rows == expired
    assert set(executed_rows(slow).values()) == {1}


def test_a_second_click_that_comes_when_the_first_is_fulfilled_asks_for_nothing(job: Job, people: Any, slow: Any, monkeypatch: Any) -> None:
    """Its wish would have the token of the round that is there, which no second round may have: the job would stand still for ever."""
    for batch in job.batches.all():
        slow.control("end", batch=batch.provider_batch_id, status="expired", share=0.5)
    job = settled(job)
    rescue.rescue(job, people.owner, token="r")

    def claim_late(of: Job) -> Any:
        for _ in range(50):
            if of.rounds.filter(token="r").exists():
                break
            step(of)
        return claim_job(of)

    claim_job = rescue.claim_job
    monkeypatch.setattr(rescue, "claim_job", claim_late)
    rescue.rescue(job, people.owner, token="r")
    job.refresh_from_db()
    assert (job.wish, job.rounds.filter(token="r").count()) == ({}, 1)
    job = settled(job)
    assert (job.state, job.n_succeeded) == (JobState.COMPLETED, 40)
    assert set(executed_rows(slow).values()) == {1}
