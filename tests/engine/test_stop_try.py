"""A try in real time is stopped, or its draft thrown away: nothing of it runs on unseen, and what was answered is kept."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from jobs.engine import crash, direct, drafts, pilot
from jobs.engine.cancel import stop_try
from jobs.engine.drive import step
from jobs.engine.launch import Plan, launch, new_token
from jobs.errors import BadInput
from jobs.models import AuditEntry, Batch, Job
from jobs.words import JobState, RoundState
from tests.jobs import make_connection, make_dataset, make_prompt, settled
from tests.money.tools import executed_rows

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def plan(people: Any, sandbox: Any) -> Plan:
    home, owner = people.home, people.owner
    connection = make_connection(home, owner, sandbox)
    connection.limits = {"concurrency": 1}
    connection.save()
    return Plan(home, make_dataset(home, owner, 30), make_prompt(home, owner), connection, "gpt-6-luna")


@pytest.fixture
def draft(plan: Plan, people: Any) -> Job:
    return Job.objects.create(workspace=plan.workspace, name="Draft", launch_token=new_token(), created_by=people.owner)


def run(draft: Job, most: int = 60) -> Job:
    """Until nothing of the draft is left to do."""
    for _ in range(most):
        Batch.objects.filter(job=draft).update(next_look_at=timezone.now())
        Job.objects.filter(pk=draft.pk).update(next_look_at=timezone.now())
        step(draft)
        draft.refresh_from_db()
        if not draft.rounds.exclude(state=RoundState.SETTLED).exists() and draft.state != JobState.CANCELLING:
            return draft
    raise AssertionError(f"it does not end: {draft.state}")


def after_three(monkeypatch: Any, act: Any) -> None:
    """`act` once three rows have their answer, from the thread that answers the third."""
    answered: list[str] = []

    def hook(name: str) -> None:
        if name == "direct after answer":
            answered.append(name)
            if len(answered) == 3:
                act()

    monkeypatch.setattr(crash, "hook", hook)
    monkeypatch.setattr(direct, "CANCEL_SECONDS", 0.0)


def test_stopped_try_keeps_its_answers_and_the_launch_sends_the_rest(
    plan: Plan, draft: Job, people: Any, sandbox: Any, monkeypatch: Any
) -> None:
    pilot.start(draft, people.owner, plan, list(range(20)), token=new_token())
    after_three(monkeypatch, lambda: stop_try(draft, people.owner))
    run(draft)
    monkeypatch.setattr(crash, "hook", None)
    n = sum(executed_rows(sandbox).values())
    assert 3 <= n <= 5
    assert (draft.state, draft.n_succeeded, draft.n_cancelled) == (JobState.DRAFT, n, 20 - n)
    assert AuditEntry.objects.filter(action="try stopped", user=people.owner).count() == 1
    assert stop_try(draft, people.owner) is False
    job = settled(launch(plan, people.owner, draft))
    assert (job.state, job.n_succeeded) == (JobState.COMPLETED, 30)
    assert max(executed_rows(sandbox).values()) == 1


def test_discarded_draft_leaves_nothing_running(plan: Plan, draft: Job, people: Any, sandbox: Any, monkeypatch: Any) -> None:
    pilot.start(draft, people.owner, plan, list(range(20)), token=new_token())
    after_three(monkeypatch, lambda: drafts.discard(draft))
    run(draft)
    n = sum(executed_rows(sandbox).values())
    assert 3 <= n <= 5
    assert (draft.state, draft.n_succeeded, draft.n_cancelled, draft.counts["pending"]) == (JobState.CANCELLED, n, 20 - n, 10)
    assert {batch.state for batch in draft.batches.all()} <= {"settled", "rejected"}


def test_draft_discarded_before_its_try_is_cut_sends_nothing(plan: Plan, draft: Job, people: Any, sandbox: Any) -> None:
    pilot.start(draft, people.owner, plan, list(range(20)), token=new_token())
    drafts.discard(draft)
    run(draft)
    assert (draft.state, draft.n_cancelled, sum(executed_rows(sandbox).values())) == (JobState.CANCELLED, 20, 0)


def test_try_is_stopped_before_its_rows_are_cut(draft: Job, plan: Plan, people: Any, sandbox: Any) -> None:
    pilot.start(draft, people.owner, plan, list(range(5)), token="t")
    assert stop_try(draft, people.owner) is True
    draft = run(draft)
    assert (draft.state, draft.counts["cancelled"], sandbox.control("executed")) == (JobState.DRAFT, 5, [])
    assert stop_try(draft, people.owner) is False


def test_a_try_that_begins_while_the_draft_is_launched(draft: Job, plan: Plan, people: Any, sandbox: Any, monkeypatch: Any) -> None:
    """Between the launch's look at the tries and its commit: one of the two is refused in words, and no row is sent twice."""
    from jobs.engine import launch as launching

    def try_first(*args: Any) -> Any:
        pilot.start(draft, people.owner, plan, [0, 1], token="t")
        monkeypatch.undo()
        return launching.spec_for(*args)

    monkeypatch.setattr(launching, "spec_for", try_first)
    with pytest.raises(BadInput, match="tried meanwhile"):
        launch(plan, people.owner, draft)
    draft = run(Job.objects.get(pk=draft.pk))
    job = settled(launch(plan, people.owner, draft))
    assert (job.state, job.n_succeeded) == (JobState.COMPLETED, 30)
    assert set(executed_rows(sandbox).values()) == {1}


def test_a_try_that_began_and_ended_during_the_launch(draft: Job, plan: Plan, people: Any, sandbox: Any, monkeypatch: Any) -> None:
    from jobs.engine import launch as launching

    def try_first(*args: Any) -> Any:
        monkeypatch.undo()
        pilot.start(draft, people.owner, plan, [0, 1], token="t")
        run(Job.objects.get(pk=draft.pk))
        return launching.spec_for(*args)

    monkeypatch.setattr(launching, "spec_for", try_first)
    with pytest.raises(BadInput, match="tried meanwhile"):
        launch(plan, people.owner, draft)
    job = settled(launch(plan, people.owner, Job.objects.get(pk=draft.pk)))
    assert (job.state, job.n_succeeded) == (JobState.COMPLETED, 30)
    assert set(executed_rows(sandbox).values()) == {1}
