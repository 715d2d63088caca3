"""Stop means stop, in every state; what finished is kept and paid."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.engine import crash, direct
from jobs.engine.cancel import cancel
from jobs.engine.launch import new_token
from jobs.engine.lease import Lease, claim
from jobs.engine.retry import retry
from jobs.errors import BadInput
from jobs.models import AuditEntry, Batch, Job
from jobs.rows.choose import Wanted
from tests.engine.test_reconcile import die_at
from tests.engine.world import KEY, batch_of, creates, ended, finish, kinds, look, plan_here, texts
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


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_cancel_of_one_whose_worker_died_in_the_create(make: Any, sandbox: Any, monkeypatch: Any, kind: str) -> None:
    """SUBMITTING: the provider has it and nobody knows its name. It is found, cancelled there, and followed to its end."""
    job = make(kind=kind, model=("claude-haiku-4-5" if kind == "anthropic" else "gpt-6-luna") + "+slow=30s")
    batch = die_at(monkeypatch, batch_of(job), "after answer")
    assert batch.state == "submitting"
    cancel(job, None)
    job = finish(job, sandbox)
    assert (job.state, creates(sandbox), sum(kinds(job).values())) == ("cancelled", 1, 6)
    assert [b["live"] for b in sandbox.control("")["batches"]] == [False]
    check_end(job, sandbox)


def test_cancel_of_one_that_is_being_collected(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    """FETCHED: its answers are here and paid, so they are kept."""
    job = make()
    batch = die_at(monkeypatch, ended(batch_of(job), sandbox), "after parquet")
    assert batch.state == "fetched"
    cancel(job, None)
    job = finish(job, sandbox)
    assert (job.state, kinds(job)) == ("cancelled", {"succeeded": 6})
    check_end(job, sandbox)


def test_cancel_of_one_that_waits_for_headroom(make: Any, connect: Any, sandbox: Any) -> None:
    job = make(connection=connect(limits={"requests_per_batch": 3, "enqueued_tokens": 300}), model="gpt-6-luna+slow=30s")
    first, second = look(batch_of(job, 1)), look(batch_of(job, 2))
    assert (first.state, second.state, second.wait_reason[:22]) == ("submitted", "ready", "waiting for headroom: ")
    cancel(job, None)
    second = look(second)
    assert (second.state, second.outcomes, creates(sandbox)) == ("rejected", {"cancelled": 3}, 1)
    check_end(finish(job, sandbox), sandbox)


def test_cancel_of_one_that_waits_for_a_key(make: Any, sandbox: Any) -> None:
    job = make(per_batch=3, model="gpt-6-luna+slow=30s")
    first = look(batch_of(job, 1))
    sandbox.control("revoke", key=KEY)
    second = look(batch_of(job, 2))
    assert (second.state, second.wait_reason[:35]) == ("ready", "the provider does not accept the ke")
    cancel(job, None)
    first, second = look(first), look(second)
    assert (second.state, second.outcomes) == ("rejected", {"cancelled": 3})
    assert (first.state, first.cancel_sent_at) == ("submitted", None)  # still running and paid, and the page says so
    assert first.wait_reason.startswith("the key was not accepted; the batch goes on at the provider")
    sandbox.control("restore")
    job = finish(job, sandbox)
    assert (job.state, [b["live"] for b in sandbox.control("")["batches"]]) == ("cancelled", [False])
    check_end(job, sandbox)


def test_cancel_in_the_middle_of_real_time_sends_nothing_more(make: Any, connect: Any, sandbox: Any, monkeypatch: Any) -> None:
    job = make(n_rows=40, planned=False, connection=connect(limits={"concurrency": 1}))
    job.rounds.update(lane="direct")
    plan_here(job)
    answered: list[str] = []
    holds = Lease.holds

    def after_three_answers(self: Lease, *args: Any) -> bool:
        if len(answered) >= 3 and Job.objects.filter(pk=job.pk, cancel_requested_at=None).exists():
            cancel(job, None)
        return holds(self, *args)

    monkeypatch.setattr(crash, "hook", lambda name: answered.append(name) if name == "direct after answer" else None)
    monkeypatch.setattr(Lease, "holds", after_three_answers)
    monkeypatch.setattr(direct, "CANCEL_SECONDS", 0.0)
    look(batch_of(job))
    monkeypatch.undo()
    paid = sum(row["paid"] for row in sandbox.control("executed"))
    assert 3 <= paid <= 5
    job = finish(job, sandbox)
    assert (job.state, kinds(job)) == ("cancelled", {"succeeded": paid, "cancelled": 40 - paid})
    assert sum(row["paid"] for row in sandbox.control("executed")) == paid
    assert batch_of(job).state == "settled"
