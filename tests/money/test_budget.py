"""Caps hold: at the launch by the estimate's upper end, on the way by what is paid and under way."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from jobs.costs.estimate import Estimate
from jobs.engine import budget
from jobs.engine.drive import step
from jobs.engine.estimates import estimate_for, sample_of
from jobs.engine.launch import Plan, launch
from jobs.errors import BadInput
from jobs.models import Batch, Connection, Job, Membership
from jobs.queries.costs import bounds
from jobs.words import BatchState, JobState, Lane, Role
from tests.jobs import make_connection, make_dataset, make_prompt, settled

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def plan(people: Any, sandbox: Any) -> Plan:
    home, owner = people.home, people.owner
    found = Plan(home, make_dataset(home, owner, 30), make_prompt(home, owner), make_connection(home, owner, sandbox), "gpt-6-luna")
    found.estimate = estimate_for(
        sample_of(found.dataset_version, found.prompt_version), found.prompt_version, found.connection, found.model, 200
    )[0].to_json()
    return found


def high(plan: Plan) -> Decimal:
    return Decimal(plan.estimate["lanes"]["batch"]["high"])


def test_launch_above_the_jobs_cap_is_refused_and_nothing_is_made(plan: Plan, people: Any) -> None:
    plan.cap_usd = high(plan) / 2
    with pytest.raises(BadInput, match="above its cap"):
        launch(plan, people.owner)
    assert not Job.objects.exists()


def test_launch_within_the_cap_runs(plan: Plan, people: Any) -> None:
    plan.cap_usd = high(plan) * 2
    assert settled(launch(plan, people.owner)).state == JobState.COMPLETED


def test_an_admins_approval_lets_it_cross(plan: Plan, people: Any) -> None:
    plan.cap_usd, plan.approved_by = high(plan) / 1000, people.owner
    assert settled(launch(plan, people.owner)).state == JobState.COMPLETED


def test_monthly_cap_counts_what_other_jobs_may_still_cost(plan: Plan, people: Any) -> None:
    people.home.monthly_cap_usd = high(plan) * Decimal("1.5")
    people.home.save()
    launch(plan, people.owner)
    plan.token = ""
    with pytest.raises(BadInput, match="this month would be crossed"):
        launch(plan, people.owner)
    assert Job.objects.exclude(state=JobState.DRAFT).count() == 1


def test_price_unknown_with_a_cap_is_refused(plan: Plan, people: Any) -> None:
    plan.model = "sandbox-priceless"
    plan.estimate = estimate_for(
        sample_of(plan.dataset_version, plan.prompt_version), plan.prompt_version, plan.connection, plan.model, 200
    )[0].to_json()
    plan.cap_usd = Decimal(5)
    with pytest.raises(BadInput, match="no known upper end"):
        launch(plan, people.owner)


def test_batches_are_held_when_the_next_one_could_cross_the_cap(plan: Plan, people: Any) -> None:
    Connection.objects.update(limits={"requests_per_batch": 10})
    plan.connection.refresh_from_db()
    job = launch(plan, people.owner)
    step(job)
    assert [batch.state for batch in job.batches.all()] == [BatchState.READY] * 3
    first = Batch.objects.filter(job=job).order_by("number").first()
    assert first is not None
    assert first.reserve_usd is not None
    # The cap has room for one batch and a little; what the first one leaves of its reserve lets another one through.
    Job.objects.filter(pk=job.pk).update(cap_usd=first.reserve_usd * Decimal("1.1"))
    for _ in range(3):
        step(job)
    job.refresh_from_db()
    held = Batch.objects.filter(job=job, state=BatchState.READY)
    assert held.count() >= 1
    assert all("would be crossed" in batch.wait_reason for batch in held)
    assert "cap holds batches back" in job.needs
    assert job.paid_usd + budget.in_flight(people.home, job) <= first.reserve_usd * Decimal("1.1")
    Job.objects.filter(pk=job.pk).update(cap_usd=Decimal(100))
    job = settled(job)
    assert (job.state, job.n_succeeded, job.needs) == (JobState.COMPLETED, 30, "")


def test_a_batch_that_cost_more_than_it_held_stops_the_next_one(plan: Plan, people: Any) -> None:
    """Whatever a reserve leaves out is paid once at most: what was paid counts in full when the next batch is to go."""
    Connection.objects.update(limits={"requests_per_batch": 10})
    plan.connection.refresh_from_db()
    job = launch(plan, people.owner)
    step(job)
    little = Decimal("0.0000001")
    Batch.objects.filter(job=job).update(reserve_usd=little)
    Job.objects.filter(pk=job.pk).update(cap_usd=little * Decimal("1.5"))
    for _ in range(100):
        Batch.objects.filter(job=job).exclude(state=BatchState.SETTLED).update(next_look_at=timezone.now())
        Connection.objects.update(next_look_at=timezone.now())
        step(job)
        if Batch.objects.filter(job=job, state=BatchState.SETTLED).exists():
            break
    step(job)
    job.refresh_from_db()
    (paid,) = Batch.objects.filter(job=job, state=BatchState.SETTLED)
    held = Batch.objects.filter(job=job, state=BatchState.READY)
    assert (paid.paid_usd > little * 100, job.paid_usd, held.count()) == (True, paid.paid_usd, 2)
    assert all(batch.wait_reason.startswith("held: the job's cap") for batch in held)


def test_reserve_is_never_below_what_a_batch_costs(plan: Plan, people: Any) -> None:
    job = settled(launch(plan, people.owner))
    for batch in job.batches.all():
        assert batch.reserve_usd is not None
        assert 0 < batch.paid_usd <= batch.reserve_usd


def test_a_cap_above_what_one_pass_may_cost_does_not_hold_short_rows_at_the_price_of_long_ones(plan: Plan, people: Any) -> None:
    """gpt-6-luna has a dearer tier for rows of more than 272,000 tokens: rows that are far shorter are not held against it."""
    ceiling = Estimate.from_json(plan.estimate).lanes["batch"].ceiling
    assert ceiling is not None
    plan.cap_usd = ceiling * Decimal("1.4")
    job = settled(launch(plan, people.owner))
    assert (job.state, job.needs) == (JobState.COMPLETED, "")


def test_a_role_taken_away_stops_what_is_not_sent(plan: Plan, people: Any) -> None:
    job = launch(plan, people.analyst)
    member = Membership.objects.get(user=people.analyst)
    member.role = Role.VIEWER
    member.save()
    for _ in range(3):
        step(job)
    (batch,) = job.batches.all()
    assert (batch.state, batch.n_submits) == (BatchState.READY, 0)
    assert "may no longer launch" in batch.wait_reason
    member.role = Role.ANALYST
    member.save()
    assert settled(job).state == JobState.COMPLETED


def test_rows_of_a_pilot_are_not_held_against_the_cap_twice(plan: Plan, people: Any) -> None:
    """Half of the table is tried already: its cost is known, and only the other half is still to come."""
    estimate = Estimate.from_json(plan.estimate)
    paid, cap = high(plan) / 2, high(plan) * Decimal("1.1")
    assert budget.crossings(people.home, estimate, Lane.BATCH, cap, paid, 15) == []
    assert len(budget.crossings(people.home, estimate, Lane.BATCH, cap, paid, 30)) == 1


def test_sandbox_beside_a_real_connection_is_not_held_against_the_months_cap(plan: Plan, people: Any) -> None:
    people.home.monthly_cap_usd = high(plan) / 1000
    people.home.save()
    Connection.objects.create(workspace=people.home, name="Real", kind="openai")
    job = settled(launch(plan, people.owner))
    assert (job.state, job.paid_usd > 0) == (JobState.COMPLETED, True)
    assert (budget.spent_this_month(people.home), budget.committed(people.home)) == (0, 0)


def test_the_caps_month_is_that_of_the_pages(settings: Any) -> None:
    """By the clock of the deployment, not by UTC: on the last evening of a month the cap must not be fresh already. With summer time."""
    settings.TIME_ZONE = "America/New_York"
    evening = datetime(2026, 12, 1, 1, 0, tzinfo=UTC)  # 30 November, 20:00
    assert budget.month_start(evening) == bounds("month", evening)[0] == datetime(2026, 11, 1, 4, 0, tzinfo=UTC)
    settings.TIME_ZONE = "Asia/Tokyo"
    morning = datetime(2026, 12, 31, 22, 0, tzinfo=UTC)  # 1 January, 07:00
    assert budget.month_start(morning) == bounds("month", morning)[0] == datetime(2026, 12, 31, 15, 0, tzinfo=UTC)


def test_a_jobs_own_cap_holds_on_the_sandbox_too(plan: Plan, people: Any) -> None:
    Connection.objects.create(workspace=people.home, name="Real", kind="openai")
    plan.cap_usd = high(plan) / 2
    with pytest.raises(BadInput, match="above its cap"):
        launch(plan, people.owner)


def test_alone_the_sandbox_counts(plan: Plan, people: Any) -> None:
    people.home.monthly_cap_usd = high(plan) / 1000
    people.home.save()
    with pytest.raises(BadInput, match="this month would be crossed"):
        launch(plan, people.owner)
