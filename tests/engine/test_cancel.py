"""Stop means stop, in every state; what finished is kept and paid."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.engine.cancel import cancel
from jobs.engine.launch import new_token
from jobs.engine.lease import claim
from jobs.engine.retry import retry
from jobs.errors import BadInput
from jobs.models import AuditEntry, Batch, Job
from jobs.rows.choose import Wanted
from tests.engine.world import batch_of, creates, ended, finish, kinds, look, texts
from tests.faults.invariants import check_end

pytestmark = pytest.mark.django_db


def reach(job: Any, sandbox: Any, state: str) -> Batch:
    """The first batch of the job in the state."""
    batch = batch_of(job)
    if state == "unknown":
        sandbox.control("arm", verb="batches.create", fault="drop_after")
    if state in ("submitted", "unknown"):
        return look(batch)
    if state in ("ended", "settled"):
        batch = ended(batch, sandbox)
    return look(batch) if state == "settled" else batch


EXPECTED = {
    "ready": {"cancelled": 6},
    "ended": {"succeeded": 3, "cancelled": 3},
    "settled": {"succeeded": 3, "cancelled": 3},
}


@pytest.mark.parametrize("state", ["ready", "unknown", "submitted", "ended", "settled"])
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_cancel_in_each_state(make: Any, sandbox: Any, people: Any, kind: str, state: str) -> None:
    slow = "+slow=30s" if state in ("submitted", "unknown") else ""
    job = make(kind=kind, per_batch=3, model=("claude-haiku-4-5" if kind == "anthropic" else "gpt-6-luna") + slow)
    batch = reach(job, sandbox, state)
    assert batch.state == state
    assert cancel(job, people.owner) is True
    assert cancel(job, people.owner) is False
    job = finish(job, sandbox)
    assert job.state == "cancelled"
    if state in EXPECTED:
        assert kinds(job) == EXPECTED[state]
    assert sum(kinds(job).values()) == 6
    assert creates(sandbox) == (0 if state == "ready" else 1)
    assert [b["live"] for b in sandbox.control("")["batches"]] == [False] * creates(sandbox)
    paid = sum(row["paid"] for row in sandbox.control("executed"))
    assert sum(batch.outcomes.get("succeeded", 0) for batch in job.batches.all()) == paid
    assert AuditEntry.objects.filter(action="cancel", user=people.owner).count() == 1
    check_end(job, sandbox)


def test_cancel_while_it_is_planned(make: Any, sandbox: Any) -> None:
    from jobs.engine import plan

    job = make(planned=False)
    cancel(job, None)
    job.refresh_from_db()
    lease = claim(Job, job.pk)
    assert lease is not None
    assert plan.plan(job, lease) is True
    lease.release()
    job = finish(job, sandbox)
    assert (job.state, kinds(job), creates(sandbox)) == ("cancelled", {"cancelled": 6}, 0)
    check_end(job, sandbox)


def test_cancel_that_the_provider_does_not_take_is_followed_to_its_end(make: Any, sandbox: Any) -> None:
    job = make(model="gpt-6-luna+slow=30s")
    look(batch_of(job))
    cancel(job, None)
    sandbox.control("arm", verb="batches.cancel", fault="status", status=400, message="cannot cancel now", times=0)
    batch = look(batch_of(job))
    assert (batch.state, batch.cancel_sent_at is not None) == ("submitted", True)
    (told,) = texts(job, "batch:cancel")
    assert told.startswith("Batch 1: the provider did not take the cancel (")
    job = finish(job, sandbox)
    assert (job.state, kinds(job)) == ("cancelled", {"succeeded": 6})


@pytest.mark.parametrize("status", [404, 429, 500])
def test_cancel_that_got_no_clear_answer_is_sent_again(make: Any, sandbox: Any, status: int) -> None:
    job = make(model="gpt-6-luna+slow=30s")
    look(batch_of(job))
    cancel(job, None)
    sandbox.control("arm", verb="batches.cancel", fault="status", status=status)
    batch = look(batch_of(job))
    assert batch.cancel_sent_at is None
    assert batch.wait_reason == "the provider has not taken the cancel yet; it is asked again at each look"
    batch = look(batch)
    assert (batch.cancel_sent_at is not None, batch.wait_reason) == (True, "")
    assert texts(job, "batch:cancel") == ["Batch 1: the provider was asked to cancel it"]


def test_a_retry_takes_an_old_cancel_back(make: Any, sandbox: Any, people: Any) -> None:
    job = make()
    cancel(job, None)
    with pytest.raises(BadInput, match="being cancelled"):
        retry(job, people.owner, Wanted(), token=new_token())
    job = finish(job, sandbox)
    retry(job, people.owner, Wanted(), token=new_token())
    job.refresh_from_db()
    assert (job.state, kinds(job)) == ("running", {"pending": 6})
    job = finish(job, sandbox)
    assert (job.state, kinds(job)) == ("completed", {"succeeded": 6})
    check_end(job, sandbox)
