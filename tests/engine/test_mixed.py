"""Features that meet: a cancel while rows are cut, a retry beside a rescue, two connections to one account …"""

from __future__ import annotations

from typing import Any

import pytest

from jobs.engine import plan, rescue
from jobs.engine.cancel import cancel
from jobs.engine.launch import new_token
from jobs.engine.lease import claim
from jobs.engine.render_child import answer
from jobs.engine.retry import Changes, retry
from jobs.errors import BadInput
from jobs.models import Batch, Job
from jobs.rows.choose import Wanted
from jobs.words import Lane
from tests.engine.world import batch_of, creates, finish, kinds, look, plan_here, tick

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("lane", ["batch", "direct"])
def test_cancel_between_two_files_of_the_planner(make: Any, sandbox: Any, monkeypatch: Any, lane: str) -> None:
    """The planner works while the cancel comes, so the second batch is made after it and bears no mark of it."""
    monkeypatch.setattr(plan, "DIRECT_ROWS", 3)
    job = make(per_batch=3, planned=False)
    job.rounds.update(lane=lane)
    lease = claim(Job, job.pk)
    assert lease is not None
    round_ = job.rounds.select_related("prompt_version", "connection", "job").get()
    for i, piece in enumerate(answer(plan._request(round_))):
        if i == 1:
            cancel(job, None)
        plan._add(round_, piece, lease)
    lease.release()
    assert [batch.cancel_requested_at is not None for batch in job.batches.order_by("number")] == [True, False]
    job = finish(job, sandbox)
    assert (job.state, kinds(job), sandbox.control("executed")) == ("cancelled", {"cancelled": 6}, [])


def test_cancel_takes_back_a_rescue_that_waits(make: Any, sandbox: Any, people: Any) -> None:
    """What was wished before the cancel is not done after it, and stands in the way of nothing."""
    job = make(model="gpt-6-luna+slow=30s")
    look(batch_of(job))
    rescue.rescue(job, people.owner, token="r1")
    cancel(job, people.owner)
    job = finish(job, sandbox)
    assert (job.state, kinds(job), job.wish, job.rounds.count()) == ("cancelled", {"cancelled": 6}, {}, 1)
    retry(job, people.owner, Wanted(), token=new_token())
    job = finish(job, sandbox)
    assert (job.state, kinds(job), creates(sandbox)) == ("completed", {"succeeded": 6}, 2)
    assert list(job.rounds.values_list("lane", flat=True)) == ["batch", "batch"]


def test_no_retry_while_a_rescue_waits(make: Any, sandbox: Any, people: Any) -> None:
    """Its rows would not be sent as the person asked, but by the rescue, in real time."""
    job = make(per_batch=3, model="gpt-6-luna+slow=30s")
    look(batch_of(job, 1))
    rescue.rescue(job, people.owner, token="r1")
    look(batch_of(job, 2))
    assert Batch.objects.get(job=job, number=2).outcomes == {"cancelled": 3}
    with pytest.raises(BadInput, match="finished in real time"):
        retry(job, people.owner, Wanted(), Changes(model="gpt-6-sol"), token=new_token())
    job = finish(job, sandbox)
    assert (kinds(job), job.rounds.count()) == ({"succeeded": 6}, 2)


def test_what_goes_again_by_itself_goes_as_it_was_sent(make: Any, sandbox: Any, people: Any) -> None:
    """A person sends three rows to a dearer model in real time; the rows that expire meanwhile go again as they were."""
    job = make(per_batch=3, max_attempts=2, model="gpt-6-luna+slow=30s")
    first, second = look(batch_of(job, 1)), look(batch_of(job, 2))
    sandbox.control("end", batch=first.provider_batch_id, status="cancelled", share=0.0)
    for _ in range(3):
        first = look(first)
    assert first.outcomes == {"cancelled": 3}
    retry(job, people.owner, Wanted(), Changes(model="gpt-6-sol", lane=Lane.DIRECT), token=new_token())
    plan_here(job)
    sandbox.control("end", batch=second.provider_batch_id, status="expired", share=0.0)
    for _ in range(12):
        tick(job, sandbox)
    job.refresh_from_db()
    told = list(job.rounds.order_by("number").values_list("reason", "lane", "spec__model", "n_rows"))
    assert told == [
        ("first", "batch", "gpt-6-luna+slow=30s", 6),
        ("retry", "direct", "gpt-6-sol", 3),
        ("auto_retry", "batch", "gpt-6-luna+slow=30s", 3),
    ]
