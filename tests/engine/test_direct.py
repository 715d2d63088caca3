"""Ordinary calls whose answer was made and did not reach us whole: perhaps paid, so a person decides, and nothing goes again by itself."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from jobs.engine import crash, direct
from jobs.engine.advance import advance_batch
from jobs.models import Batch
from tests.engine.world import batch_of, finish, kinds, look, plan_here

pytestmark = pytest.mark.django_db
# What comes in place of an answer that was made: nothing, half of it, a page of a proxy; a gateway that would not wait longer.
LOST: list[dict[str, Any]] = [
    {"fault": "empty"},
    {"fault": "garbage"},
    {"fault": "html"},
    {"fault": "gzip_bomb"},
    {"fault": "status_after", "status": 504},
    {"fault": "status_after", "status": 504, "html": True},
    {"fault": "status_after", "status": 408},
]


@pytest.mark.parametrize("fault", LOST, ids=str)
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_an_answer_that_was_lost_on_the_way_is_not_asked_for_again(
    make: Any, connect: Any, sandbox: Any, kind: str, fault: dict[str, Any]
) -> None:
    job = make(n_rows=3, max_attempts=3, planned=False, connection=connect(kind, limits={"concurrency": 1}))
    job.rounds.update(lane="direct")
    plan_here(job)
    sandbox.control("arm", verb="messages" if kind == "anthropic" else "chat", **fault)
    job = finish(job, sandbox)
    paid = [row["custom_id"] if row.get("custom_id") else row["body"] for row in sandbox.control("executed") if row["paid"]]
    assert (len(paid), len(set(paid))) == (3, 3)
    assert (kinds(job), job.rounds.count()) == ({"succeeded": 2, "missing": 1}, 1)
    assert job.batches.get().usage["unknown_rows"] == 1


@pytest.mark.parametrize("longest", ["CALL_SECONDS", "FLEX_SECONDS"])
def test_no_call_outlives_its_task(make: Any, sandbox: Any, settings: Any, monkeypatch: Any, longest: str) -> None:
    """A worker that is killed in the middle of a call loses an answer that is paid: none begins that could last so long."""
    asks = getattr(direct, longest)
    assert direct.STEP_SECONDS + asks + direct.TASK_MARGIN < settings.Q_CLUSTER["timeout"]
    job = make(n_rows=3, planned=False)
    job.rounds.update(lane="direct" if longest == "CALL_SECONDS" else "flex")
    job.rounds.update(spec={**job.spec, "service_tier": "" if longest == "CALL_SECONDS" else "flex"})
    plan_here(job)
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "timeout": asks + direct.TASK_MARGIN}
    assert look(batch_of(job)).state == "ready"
    assert sandbox.control("executed") == []
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "timeout": asks + direct.TASK_MARGIN + 60}
    job = finish(job, sandbox)
    assert kinds(job) == {"succeeded": 3}


def test_what_a_provider_asks_for_is_waited_for_by_all_rows(make: Any, connect: Any, sandbox: Any) -> None:
    """A wait of more than a minute is no failure of the row that met it."""
    job = make(n_rows=4, planned=False, connection=connect(limits={"concurrency": 1}))
    job.rounds.update(lane="direct")
    plan_here(job)
    sandbox.control("arm", verb="chat", fault="status", status=429, retry_after=600, skip=1)
    batch = look(batch_of(job))
    assert (batch.state, len(sandbox.control("executed"))) == ("ready", 1)
    assert 590 < (batch.next_look_at - timezone.now()).total_seconds() < 601
    at = f"{timezone.localtime(batch.next_look_at):%H:%M %Z}"
    assert batch.wait_reason.startswith(f"the provider asked us to wait, going on at {at}: The provider asks us to wait (HTTP 429).")
    job = finish(job, sandbox)
    assert (kinds(job), len(sandbox.control("executed"))) == ({"succeeded": 4}, 4)


@pytest.mark.django_db(transaction=True)
def test_a_worker_whose_lease_another_one_took_sends_no_more_rows(make: Any, connect: Any, sandbox: Any, monkeypatch: Any) -> None:
    """A clock that jumps, or another host's that is ahead, ends a lease for others; its holder's own clock says that it holds still."""
    job = make(n_rows=12, planned=False, connection=connect(limits={"concurrency": 1}))
    job.rounds.update(lane="direct")
    plan_here(job)
    batch, answered = batch_of(job), []

    def another() -> None:
        advance_batch(str(batch.pk))
        connections.close_all()

    def hook(name: str) -> None:
        if name == "direct after line":
            answered.append(name)
            if len(answered) == 3:
                Batch.objects.filter(pk=batch.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
                worker = threading.Thread(target=another)
                worker.start()
                worker.join()

    monkeypatch.setattr(crash, "hook", hook)
    monkeypatch.setattr(direct, "CANCEL_SECONDS", 0.0)
    look(batch)
    monkeypatch.setattr(crash, "hook", None)
    job = finish(job, sandbox)
    assert (kinds(job), len(sandbox.control("executed"))) == ({"succeeded": 12}, 12)
