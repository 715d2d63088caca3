"""Many at once want to spend: whatever the order, the caps of workspace and job are not passed."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from jobs.engine import budget
from jobs.engine.advance import advance
from jobs.engine.estimates import estimate_for, sample_of
from jobs.engine.launch import Plan, launch
from jobs.errors import BadInput
from jobs.models import Batch, Connection, Job
from jobs.sandbox import Sandbox
from jobs.words import BatchState, JobState, Lane
from tests.concurrency.test_races import at_once
from tests.jobs import make_connection, make_dataset, make_job, make_prompt

pytestmark = [pytest.mark.postgres, pytest.mark.serial, pytest.mark.django_db(transaction=True)]


def flying_or_paid(workspace: Any) -> Decimal:
    return budget.spent_this_month(workspace) + budget.in_flight(workspace)


def test_twenty_launches_of_different_jobs_stay_under_the_monthly_cap(people: Any, sandbox: Any, data_folder: Path) -> None:
    version, prompt = make_dataset(people.home, people.owner), make_prompt(people.home, people.owner)
    provider = make_connection(people.home, people.owner, sandbox)
    estimate = estimate_for(sample_of(version, prompt), prompt, provider, "gpt-6-luna", 200)[0]
    high = estimate.lanes["batch"].high
    assert high is not None
    people.home.monthly_cap_usd = high * Decimal("4.5")
    people.home.save()

    def one(i: int) -> Job:
        name = f"Job {i}"
        plan = Plan(people.home, version, prompt, provider, "gpt-6-luna", name=name, estimate=estimate.to_json(), token=f"t{i}")
        return launch(plan, people.owner)

    results = at_once(20, one)
    assert sorted(type(result).__name__ for result in results) == ["BadInput"] * 16 + ["Job"] * 4
    assert all("this month would be crossed" in str(result) for result in results if isinstance(result, BadInput))
    assert Job.objects.filter(state=JobState.QUEUED).count() == 4


@pytest.mark.parametrize("lane", [Lane.BATCH, Lane.DIRECT])
def test_batches_of_different_jobs_that_start_together_stay_under_the_monthly_cap(
    people: Any, tmp_path: Path, data_folder: Path, lane: Lane
) -> None:
    """Eight jobs' batches are looked at in the same moment; the cap has room for three."""
    with Sandbox(tmp_path / "slow", seconds=3600) as slow:
        provider = make_connection(people.home, people.owner, slow)
        Connection.objects.update(limits={"creates_per_minute": 1000})
        version = make_dataset(people.home, people.owner, 6)
        jobs = []
        for i in range(8):
            plan = Plan(people.home, version, make_prompt(people.home, people.owner, f"P{i}"), provider, "gpt-6-luna", f"Job {i}", lane)
            jobs.append(launch(plan, people.owner))
            advance("job", str(jobs[-1].pk))
        batches = list(Batch.objects.filter(job__in=jobs, state=BatchState.READY))
        assert len(batches) == 8
        reserve = max(batch.reserve_usd or Decimal(0) for batch in batches)
        people.home.monthly_cap_usd = reserve * Decimal("3.2")
        people.home.save()
        Batch.objects.update(next_look_at=timezone.now())
        if lane is Lane.DIRECT:  # no answer comes while the others ask
            slow.control("arm", verb="chat", fault="hang", seconds=1.0, times=0)
        at_once(8, lambda i: advance("batch", str(batches[i].pk)))
        begun = Batch.objects.filter(job__in=jobs, n_submits__gt=0)
        assert begun.count() == 3
        assert 0 < flying_or_paid(people.home) <= people.home.monthly_cap_usd
        held = Batch.objects.filter(job__in=jobs, n_submits=0)
        assert all("cap" in reason and "would be crossed" in reason for reason in held.values_list("wait_reason", flat=True))


def test_batches_of_one_job_that_start_together_stay_under_its_cap(people: Any, tmp_path: Path, data_folder: Path) -> None:
    with Sandbox(tmp_path / "slow", seconds=3600) as slow:
        provider = make_connection(people.home, people.owner, slow)
        Connection.objects.update(limits={"creates_per_minute": 1000, "requests_per_batch": 2})
        provider.refresh_from_db()
        job = make_job(people.home, people.owner, slow, n_rows=16, connection=provider, settle=False)
        advance("job", str(job.pk))
        batches = list(Batch.objects.filter(job=job))
        assert len(batches) == 8
        cap = max(batch.reserve_usd or Decimal(0) for batch in batches) * Decimal("2.5")
        Job.objects.filter(pk=job.pk).update(cap_usd=cap)
        Batch.objects.update(next_look_at=timezone.now())
        at_once(8, lambda i: advance("batch", str(batches[i].pk)))
        job.refresh_from_db()
        assert Batch.objects.filter(job=job, state=BatchState.SUBMITTED).count() == 2
        assert 0 < job.paid_usd + budget.in_flight(people.home, job) <= cap
