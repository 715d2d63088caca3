"""Settle: rounds are merged in their order, passing causes go again, and the end says what came of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from jobs.engine import places, settle
from jobs.engine.cancel import cancel
from jobs.engine.launch import new_token
from jobs.engine.lease import LostLease, claim
from jobs.engine.retry import retry
from jobs.engine.view import standing_of
from jobs.models import Job, Round
from jobs.rows import digest
from jobs.rows.choose import Wanted
from jobs.rows.outcomes import recount
from tests.engine.world import batch_of, creates, finish, kinds, settle_job, settled, texts
from tests.faults.invariants import check, check_end

pytestmark = pytest.mark.django_db


def test_passing_causes_go_again_until_the_attempts_are_used(make: Any, sandbox: Any) -> None:
    job = finish(make(model="gpt-6-luna+errors=2,invalid=1", max_attempts=3), sandbox)
    # errors fall on the first two rows of each file: row 0 and 1 for ever, row 2 is not accepted at all.
    assert (job.state, kinds(job)) == ("completed_with_failures", {"succeeded": 3, "failed": 3})
    assert [each.n_rows for each in job.rounds.order_by("number")] == [6, 2, 2]
    assert texts(job, "finished") == ["Completed: 3 of 6 rows succeeded"]
    check_end(job, sandbox)


def test_faults_that_pass_leave_no_failure(make: Any, sandbox: Any) -> None:
    job = finish(make(model="gpt-6-luna+errors=2,missing=1,expired=1,once", max_attempts=2), sandbox)
    assert (job.state, kinds(job)) == ("completed", {"succeeded": 6})
    assert job.wasted_usd == 0
    check_end(job, sandbox)


def test_nothing_succeeded_is_a_failure(make: Any, sandbox: Any) -> None:
    job = finish(make(model="gpt-6-luna+invalid"), sandbox)
    assert (job.state, texts(job, "finished")) == ("failed", ["Failed: none of 6 rows succeeded"])


def test_retry_twice_with_one_token_is_one_round(make: Any, sandbox: Any, people: Any) -> None:
    job = finish(make(model="gpt-6-luna+errors=2,once"), sandbox)
    token = new_token()
    assert retry(job, people.owner, Wanted(), token=token) == retry(job, people.owner, Wanted(), token=token)
    check(job, sandbox)
    job = finish(job, sandbox)
    assert (kinds(job), job.rounds.count(), creates(sandbox)) == ({"succeeded": 6}, 2, 2)
    check_end(job, sandbox)


def test_rows_in_an_open_round_are_never_taken_again(make: Any, sandbox: Any, people: Any) -> None:
    from jobs.errors import BadInput

    job = finish(make(model="gpt-6-luna+errors=2,once"), sandbox)
    retry(job, people.owner, Wanted(), token=new_token())
    with pytest.raises(BadInput, match="There is nothing to retry"):
        retry(Job.objects.get(pk=job.pk), people.owner, Wanted(), token=new_token())
    check(job, sandbox)


def test_retry_while_the_first_round_still_runs(make: Any, sandbox: Any, people: Any) -> None:
    """A failed row of a closed batch goes again while other batches of the same round are out: rounds are merged in their order."""
    job = make(model="gpt-6-luna+errors=1,once", per_batch=3)
    settled(batch_of(job), sandbox)
    round_ = retry(Job.objects.get(pk=job.pk), people.owner, Wanted(), token=new_token())
    assert (round_.n_rows, round_.number) == (1, 2)
    check(job, sandbox)
    job = finish(job, sandbox)
    assert kinds(job) == {"succeeded": 5, "failed": 1}
    check_end(job, sandbox)


def test_merge_twice_is_the_same(make: Any, sandbox: Any) -> None:
    job = make(per_batch=3)
    settled(batch_of(job, 1), sandbox)
    settled(batch_of(job, 2), sandbox)
    job.refresh_from_db()
    lease = claim(Job, job.pk)
    assert lease is not None
    round_ = Round.objects.select_related("job").get(job=job)
    settle._merge(job, round_, lease)
    path = places.standings_file(job, 1)
    assert path is not None
    first = path.read_bytes()
    stale = Job.objects.get(pk=job.pk)
    stale.n_settled_rounds = 0
    with pytest.raises(LostLease):
        settle._merge(stale, round_, lease)
    assert path.read_bytes() == first
    assert recount(standing_of(Job.objects.get(pk=job.pk)).files)["succeeded", None] == 6
    lease.release(timezone.now())
    assert settle_job(job).state == "completed"


def test_cancel_in_the_moment_of_the_end_wins(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    job = make()
    settled(batch_of(job), sandbox)
    job.refresh_from_db()
    lease = claim(Job, job.pk)
    assert lease is not None
    settle._merge(job, Round.objects.select_related("job").get(job=job), lease)
    refresh = Job.refresh_from_db

    def refresh_then_cancel(self: Job, *args: Any, **more: Any) -> None:
        refresh(self, *args, **more)
        monkeypatch.setattr(Job, "refresh_from_db", refresh)
        cancel(Job.objects.get(pk=self.pk), None)

    monkeypatch.setattr(Job, "refresh_from_db", refresh_then_cancel)
    with pytest.raises(LostLease):
        settle._finish(job, lease)
    lease.release()
    assert settle_job(job).state == "cancelled"


def test_a_large_job_has_its_digests_when_it_ends(make: Any, sandbox: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "LEAST_ROWS", 1)
    job = finish(make(model="gpt-6-luna+errors=2,invalid=1", max_attempts=4), sandbox)
    assert job.n_settled_rounds > 2
    standings = places.standings_file(job, job.n_settled_rounds)
    assert standings is not None
    digests = {path.name.partition(".digest-")[0] for path in standings.parent.glob("*.digest-*")}
    assert digests == {f"standings-{job.n_settled_rounds}", f"standings-{job.n_settled_rounds - 1}"}
    assert len(list(places.table_of(job.dataset_version).parent.glob("table.digest-*.parquet"))) == 1


def test_what_a_planner_could_not_remove_goes_at_the_end(make: Any, sandbox: Any) -> None:
    """Night of T5, pair (370, 383): a cut failed on a read-only disk, and so did the removal of its folder at the next look."""
    job = make()
    left = places.job_folder(job) / "batches" / ("0" * 32)
    left.mkdir()
    (left / "requests.jsonl.part").write_bytes(b"{")
    job = finish(job, sandbox)
    assert not left.exists()
    check_end(job, sandbox)
