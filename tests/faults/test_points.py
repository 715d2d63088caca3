"""A worker that dies at each named point, in this process: what the next looks make of it. `test_kill` does the same with kill -9."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.engine import collect, crash, places
from jobs.engine.advance import advance_batch, advance_connection, advance_job
from jobs.engine.lease import claim
from jobs.engine.retry import retry
from jobs.errors import BadInput
from jobs.models import Batch, Connection, Job
from jobs.rows.choose import Wanted
from jobs.rows.render import selected_rows
from tests.engine.world import batch_of, batch_of_pk, creates, ended, finish, hurry, kinds, look, plan_here, tick
from tests.faults.invariants import check, check_end
from tests.faults.test_kill import DIRECT, POINTS

pytestmark = pytest.mark.django_db


class Dead(BaseException):
    """The process ends here."""


def forget_leases(job: Job) -> None:
    """The leases of the dead run out."""
    for model in (Job, Batch, Connection):
        model.objects.update(lease_until=None)  # type: ignore[attr-defined]


# Refusals and cuts have a part of their own below.
NAMES = sorted({name for name, _ in POINTS} - {"after refusal", "after cut", "before round"})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_dead_at(make: Any, sandbox: Any, monkeypatch: Any, kind: str, name: str) -> None:
    if kind == "anthropic" and "upload" in name:
        name = "before mark"
    job = make(kind=kind, per_batch=3)
    died = []

    def hook(at: str) -> None:
        if at == name and not died:
            died.append(at)
            raise Dead

    monkeypatch.setattr(crash, "hook", hook)
    for _ in range(6):
        if died:
            break
        try:
            tick(job, sandbox)
        except Dead:
            check(job, sandbox)
    assert died
    forget_leases(job)
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 2)
    check_end(job, sandbox)


def test_dead_before_a_round_is_made(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    """The rows of a retry are written, the ledger does not know of the round."""
    sandbox.control("arm", orders="errors=1,once", times=1)
    job = make(max_attempts=2)

    def hook(at: str) -> None:
        if at == "before round":
            raise Dead

    monkeypatch.setattr(crash, "hook", hook)
    with pytest.raises(Dead):
        finish(job, sandbox)
    monkeypatch.setattr(crash, "hook", None)
    assert job.rounds.count() == 1
    forget_leases(job)
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox), job.rounds.count()) == ({"succeeded": 6}, 2, 2)
    check_end(job, sandbox)


@pytest.mark.parametrize("name", DIRECT)
def test_dead_on_the_direct_lane(make: Any, sandbox: Any, monkeypatch: Any, name: str) -> None:
    """One row at a time, so that at most one of them is under way."""
    job = make(planned=False)
    Connection.objects.filter(pk=job.connection_id).update(limits={"concurrency": 1})
    job.rounds.update(lane="direct")
    plan_here(job)
    died = []

    def hook(at: str) -> None:
        if at == name and not died:
            died.append(at)
            raise Dead

    monkeypatch.setattr(crash, "hook", hook)
    with pytest.raises(Dead):
        advance_batch(str(batch_of(job).pk))
    check(job, sandbox)
    forget_leases(job)
    job = finish(job, sandbox)
    lost = {"missing": 1} if name in ("direct after sent", "in direct call", "direct after answer") else {}
    assert kinds(job) == {"succeeded": 6 - len(lost), **lost}
    check_end(job, sandbox)


def test_dead_after_a_refusal(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    job = make()
    sandbox.control("arm", verb="batches.create", fault="status", status=429)

    def hook(at: str) -> None:
        if at == "after refusal":
            raise Dead

    monkeypatch.setattr(crash, "hook", hook)
    with pytest.raises(Dead):
        look(batch_of(job))
    monkeypatch.setattr(crash, "hook", None)
    forget_leases(job)
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox)) == ({"succeeded": 6}, 1)
    check_end(job, sandbox)


@pytest.mark.parametrize("state", ["ready", "submitted", "ended", "fetched", "settled"])
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_advance_twice_is_harmless(make: Any, sandbox: Any, kind: str, state: str) -> None:
    """Each wake-up comes twice, at every state, and so do those of the job and of the connection."""
    job = make(kind=kind)
    batch = batch_of(job)
    if state != "ready":
        batch = look(batch) if state == "submitted" else ended(batch, sandbox)
    if state == "fetched":
        lease = claim(Batch, batch.pk)
        assert lease is not None
        collect.fetch(batch, lease)
        lease.release()
    if state == "settled":
        batch = look(batch)
    for _ in range(2):
        hurry(job)
        advance_batch(str(batch.pk))
        hurry(job)
        advance_connection(str(job.connection_id))
        advance_job(str(job.pk))
        check(job, sandbox)
    job = finish(job, sandbox)
    assert (kinds(job), creates(sandbox), batch_of_pk(batch).state) == ({"succeeded": 6}, 1, "settled")
    check_end(job, sandbox)


def test_a_retry_that_slept_cannot_change_the_rows_of_another(make: Any, sandbox: Any, monkeypatch: Any) -> None:
    """It has written its rows and sleeps past its lease; another retry, of one row, is made; then it goes on, and is too late."""
    sandbox.control("arm", orders="errors=3", times=1)
    job = finish(make(), sandbox)
    failed = [row for row in range(6) if _kind(job, row) == "failed"]
    assert len(failed) == 3
    slept: list[str] = []

    def hook(at: str) -> None:
        if at == "before round" and not slept:
            slept.append(at)
            forget_leases(job)
            retry(Job.objects.get(pk=job.pk), None, Wanted(rows=failed[:1]), token="second")

    monkeypatch.setattr(crash, "hook", hook)
    with pytest.raises(BadInput, match="changed meanwhile"):
        retry(job, None, Wanted(), token="first")
    monkeypatch.setattr(crash, "hook", None)
    made = job.rounds.get(number=2)
    assert (made.token, made.n_rows) == ("second", 1)
    rows_file = places.rows_file(made)
    assert rows_file is not None
    assert selected_rows(rows_file).tolist() == failed[:1]
    forget_leases(job)
    job = finish(job, sandbox)
    assert kinds(job) == {"succeeded": 4, "failed": 2}
    check_end(job, sandbox)


def _kind(job: Job, row: int) -> str:
    file = places.standings_file(job, job.n_settled_rounds)
    assert file is not None
    return str(pq.read_table(file, columns=["kind"]).column(0)[row])
