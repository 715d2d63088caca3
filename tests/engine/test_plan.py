"""Plan: whole files become batches, what a dead planner left goes, and rows that cannot be sent have their outcome at once."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.engine import left_behind, places, plan, render_child
from jobs.engine.lease import LostLease, claim
from jobs.engine.plan import cut_limits
from jobs.engine.tally import tally_of
from jobs.engine.unsent import add_unsent
from jobs.engine.view import standing_of
from jobs.models import Batch, Connection, Job, PromptVersion, Round
from jobs.words import Cause, OutcomeKind, RoundState
from tests.engine.world import batch_of, finish, kinds, plan_here, settled
from tests.faults.invariants import check, check_end

pytestmark = pytest.mark.django_db


def test_each_row_is_in_one_batch(make: Any, sandbox: Any) -> None:
    job = make(n_rows=7, per_batch=3)
    found = list(job.batches.order_by("number").values_list("n_requests", "first_row", "last_row"))
    assert found == [(3, 0, 2), (3, 3, 5), (1, 6, 6)]
    round_ = Round.objects.get(job=job)
    assert (round_.state, round_.plan_offset, round_.n_batches) == (RoundState.RUNNING, 7, 3)
    check(job, sandbox)


def test_what_a_dead_planner_left_is_removed(make: Any, sandbox: Any) -> None:
    job = make(planned=False)
    left = places.job_folder(job) / "batches" / ("a" * 32)
    left.mkdir(parents=True)
    (left / "requests.jsonl.part").write_text("x")
    lease = claim(Job, job.pk)
    assert lease is not None
    left_behind.remove_unknown(job, lease)
    assert not left.exists()
    left.mkdir()
    lease.ends = 0.0  # it slept: what is there may be another planner's
    left_behind.remove_unknown(job, lease)
    assert left.exists()
    lease.release()
    plan_here(job)
    kept = places.batch_folder(job, batch_of(job).pk)
    lease = claim(Job, job.pk)
    assert lease is not None
    left_behind.remove_unknown(job, lease)
    assert kept.exists()
    assert not left.exists()


def test_planner_that_lost_the_job_adds_nothing(make: Any) -> None:
    job = make(planned=False)
    lease = claim(Job, job.pk)
    assert lease is not None
    round_ = Round.objects.select_related("job", "connection", "prompt_version").get(job=job)
    (piece,) = render_child.answer(plan._request(round_))
    Job.objects.filter(pk=job.pk).update(lease_token=lease.token + 1)
    with pytest.raises(LostLease):
        plan._add(round_, piece, lease)
    assert not Batch.objects.filter(job=job).exists()


def test_the_same_piece_twice_is_one_batch(make: Any) -> None:
    job = make(planned=False)
    lease = claim(Job, job.pk)
    assert lease is not None
    one, other = (Round.objects.select_related("job", "connection", "prompt_version").get(job=job) for _ in range(2))
    (first,), (second,) = render_child.answer(plan._request(one)), render_child.answer(plan._request(other))
    plan._add(one, first, lease)
    with pytest.raises(LostLease):
        plan._add(other, second, lease)
    assert Batch.objects.filter(job=job).count() == 1


def test_rows_whose_template_fails_are_outcomes(make: Any, sandbox: Any) -> None:
    job = make(planned=False)
    PromptVersion.objects.filter(pk=job.prompt_version_id).update(user="{{ 1 // (text|length - 10) }}{{ text }}")
    plan_here(job)
    unsent = Batch.objects.get(job=job, n_bytes=0)
    assert (unsent.state, unsent.paid_usd) == ("rejected", 0)
    assert unsent.outcomes == {"failed": 4}  # "a refund 0", "how do I 2" and so on have ten characters
    check(job, sandbox)
    job = finish(job, sandbox)
    assert kinds(job) == {"succeeded": 2, "failed": 4}
    check_end(job, sandbox)


def test_limits_are_the_least_of_the_providers_the_admins_and_what_was_learned(make: Any, connect: Any) -> None:
    connection = connect(limits={"requests_per_batch": 5, "enqueued_tokens": 1000})
    job = make(connection=connection, planned=False)
    round_ = Round.objects.select_related("connection").get(job=job)
    limits = cut_limits(round_)
    assert (limits["requests"], limits["bytes"], limits["tokens"]) == (5, 199_999_000, 800)
    Connection.objects.filter(pk=connection.pk).update(
        learned={"bytes_per_batch": 50_000, "enqueued_tokens": {"gpt-6-luna": 10}}, limits={}
    )
    limits = cut_limits(Round.objects.select_related("connection").get(job=job))
    assert (limits["requests"], limits["bytes"], limits["tokens"]) == (50_000, 49_000, 8)


def test_tally_and_view_tell_what_the_files_hold(make: Any, sandbox: Any) -> None:
    job = make(per_batch=3, model="gpt-6-luna+invalid=1")
    batch = settled(batch_of(job), sandbox)
    counted = tally_of(places.outcomes_file(batch))
    assert (counted.kinds, counted.n, counted.wasted) == ({"succeeded": 2, "failed": 1}, 3, 0)
    assert counted.paid == batch.paid_usd > 0
    standing = standing_of(Job.objects.get(pk=job.pk))
    assert (standing.base, standing.newer, standing.busy) == (None, ((1, places.outcomes_file(batch)),), ())


def test_unsent_rows_are_counted_once(make: Any, sandbox: Any) -> None:
    job = make(planned=False)
    round_ = Round.objects.select_related("job", "connection").get(job=job)
    batch = add_unsent(round_, [1, 2], OutcomeKind.CANCELLED, Cause.CANCELLED, ["a", "b"])
    job.refresh_from_db()
    assert (job.n_cancelled, batch.n_requests, batch.outcomes) == (2, 2, {"cancelled": 2})
    assert tally_of(places.outcomes_file(batch)).kinds == {"cancelled": 2}
