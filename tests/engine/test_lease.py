"""One holder at a time, by token and deadline; and wake-ups that are never lost."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs.engine import journal, lease, pump
from jobs.engine.advance import advance_job
from jobs.engine.lease import LostLease, claim
from jobs.models import Batch, Job
from tests.engine.world import batch_of, batch_of_pk

pytestmark = pytest.mark.django_db


def test_one_holder_at_a_time(make: Any) -> None:
    batch = batch_of(make())
    first = claim(Batch, batch.pk)
    assert first is not None
    assert claim(Batch, batch.pk) is None
    first.release()
    second = claim(Batch, batch.pk)
    assert second is not None
    assert second.token == first.token + 1
    with pytest.raises(LostLease):
        first.write(wait_reason="x")
    first.release()  # of one who lost it does nothing
    assert claim(Batch, batch.pk) is None
    assert claim(Batch, batch.pk, state="settled") is None


def test_deadline_that_passed_loses_it_though_nobody_took_it(make: Any) -> None:
    batch = batch_of(make())
    held = claim(Batch, batch.pk)
    assert held is not None
    held.ends = lease.boot_clock() - 1.0
    assert not held.holds()
    with pytest.raises(LostLease):
        held.write(wait_reason="x")
    held.ends = lease.boot_clock() + 100.0
    Batch.objects.filter(pk=batch.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    with pytest.raises(LostLease):
        held.write(wait_reason="x")
    assert batch_of_pk(batch).wait_reason == ""


def test_clock_stepped_back_frees_what_is_too_far_ahead(make: Any) -> None:
    """An hour back: the leases of the dead and the moments to look again are an hour away. Neither is waited for."""
    job = make()
    batch, ahead = batch_of(job), timezone.now() + timedelta(hours=1)
    Batch.objects.filter(pk=batch.pk).update(lease_until=ahead, next_look_at=ahead)
    assert [each.pk for kind, each in pump.due(job=job) if kind == "batch"] == [batch.pk]
    assert claim(Batch, batch.pk) is not None
    soon = timezone.now() + timedelta(seconds=600)
    Batch.objects.filter(pk=batch.pk).update(lease_until=None, next_look_at=soon)
    assert [each for kind, each in pump.due(job=job) if kind == "batch"] == []


@pytest.mark.django_db(transaction=True)
def test_who_finds_that_a_lease_was_taken_holds_it_no_more(make: Any, settings: Any) -> None:
    settings.LEASE_SECONDS = 30.0
    held = claim(Batch, batch_of(make()).pk)
    assert held is not None
    Batch.objects.update(lease_token=held.token + 1)
    settings.LEASE_SECONDS = 0.3  # it is renewed every tenth of a second
    with held.kept():
        ends = time.monotonic() + 10
        while held.holds() and time.monotonic() < ends:
            threading.Event().wait(0.05)
        assert not held.holds()


@pytest.mark.django_db(transaction=True)
def test_kept_lease_is_renewed(make: Any, settings: Any) -> None:
    settings.LEASE_SECONDS = 0.9
    batch = batch_of(make())
    held = claim(Batch, batch.pk)
    assert held is not None
    until = batch_of_pk(batch).lease_until
    with held.kept():
        threading.Event().wait(1.2)
        assert held.holds()
        held.write(wait_reason="still mine")
    assert batch_of_pk(batch).lease_until > until


def test_wake_is_one_for_many_pumps_also_where_no_moment_is_set(make: Any, monkeypatch: Any) -> None:
    woken: list[str] = []
    monkeypatch.setattr(pump, "async_task", lambda task, what: woken.append(what))
    batch = batch_of(make())
    for moment in (None, timezone.now() - timedelta(seconds=1)):
        Batch.objects.filter(pk=batch.pk).update(next_look_at=moment)
        one, other = batch_of_pk(batch), batch_of_pk(batch)
        assert (pump.wake("batch", one), pump.wake("batch", other)) == (1, 0)
    assert woken == [f"batch:{batch.pk}"] * 2


def test_pump_wakes_what_is_due_and_the_sweep_once_an_hour(make: Any, monkeypatch: Any) -> None:
    woken: list[str] = []
    monkeypatch.setattr(pump, "async_task", lambda task, what: woken.append(what))
    job = make()
    batch = batch_of(job)
    assert pump.run_once() == 2
    assert sorted(woken) == sorted(["sweep:all", f"job:{job.pk}", f"batch:{batch.pk}"])
    assert pump.run_once() == 0
    assert len(woken) == 3


def test_wake_up_during_a_jobs_step_is_not_overwritten(make: Any, monkeypatch: Any) -> None:
    job = make()

    def step(job: Job, lease: Any) -> bool:
        pump.nudge("job", job.pk)  # a batch settles meanwhile
        return False

    monkeypatch.setattr("jobs.engine.settle.settle", step)
    advance_job(str(job.pk))
    job.refresh_from_db()
    assert job.next_look_at <= timezone.now()
    assert job.lease_until is None


def test_wake_up_that_finds_the_job_held_is_repeated(make: Any) -> None:
    job = make()
    held = claim(Job, job.pk)
    assert held is not None
    Job.objects.filter(pk=job.pk).update(next_look_at=timezone.now() + timedelta(seconds=15))  # as `wake` sets it
    advance_job(str(job.pk))
    job.refresh_from_db()
    assert job.next_look_at <= timezone.now() + timedelta(seconds=1.1)


def test_journal_survives_an_entry_that_was_cut(make: Any, data_folder: Any) -> None:
    job = make(per_batch=3)
    first, second = batch_of(job, 1), batch_of(job, 2)
    first.submit_token, second.submit_token = "a" * 32, "b" * 32
    journal.write(first, "batch_1")
    path = data_folder / "journal" / "submit.ndjson"
    path.write_bytes(path.read_bytes()[:-20])
    assert journal.read(first) is None
    journal.write(second, "batch_2")
    assert journal.read(second) == "batch_2"
    second.submit_token = ""
    assert journal.read(second) is None
