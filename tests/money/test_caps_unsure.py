"""What may have been charged counts as paid where a cap is kept."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from jobs.engine import budget, give_up
from jobs.engine.launch import new_token
from jobs.engine.retry import retry
from jobs.models import Batch, Job, Workspace
from jobs.rows.choose import Wanted
from tests.engine.test_give_up import LONG_AGO, stuck
from tests.engine.world import batch_of, creates, finish, look, make, plan_here

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("whose", ["job", "month"])
def test_rows_that_may_have_been_charged_are_held_against_the_cap(
    people: Any, sandbox: Any, data_folder: Any, settings: Any, whose: str
) -> None:
    from django.utils import timezone

    job = make(people, sandbox, model="gpt-6-luna+never")
    batch = give_up.give_up(stuck(job, cancel_sent_at=timezone.now() - LONG_AGO), people.owner)
    job = finish(job, sandbox)
    reserve = batch.reserve_usd
    assert reserve is not None
    unsure = budget.uncertain(people.home, job)
    assert (job.paid_usd, batch.usage["unknown_rows"], Decimal(batch.usage["unknown_usd"])) == (0, 6, unsure)
    assert reserve / 2 < unsure <= reserve
    cap = unsure + reserve / 2  # room for either, not for both
    if whose == "job":
        Job.objects.filter(pk=job.pk).update(cap_usd=cap)
    else:
        Workspace.objects.filter(pk=people.home.pk).update(monthly_cap_usd=cap)
    retry(job, people.owner, Wanted(), token=new_token())
    plan_here(job)
    second = look(batch_of(job, 2))
    assert (second.state, creates(sandbox)) == ("ready", 1)
    assert second.wait_reason.startswith("held: the job's cap" if whose == "job" else "held: the workspace's cap")
    assert "$0 paid, up to" in second.wait_reason
    assert " perhaps charged, up to $0 under way" in second.wait_reason
    held = budget.held_of(job)
    assert held is not None
    if whose == "job":
        assert held.enough is not None
        assert held.enough >= unsure + reserve
        budget.raise_cap(job, people.owner, held.enough)
    else:
        Workspace.objects.filter(pk=people.home.pk).update(monthly_cap_usd=unsure + 2 * reserve)
    assert look(second).state == "submitted"
    assert Batch.objects.filter(job=job).count() == 2
